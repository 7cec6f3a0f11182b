"""python -m lab.bench"""

from lab.bench import core

if __name__ == "__main__":
    core.run()
