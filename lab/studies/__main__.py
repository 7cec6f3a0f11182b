"""python -m lab.studies NAME"""

from lab.studies import core

if __name__ == "__main__":
    core.run()
