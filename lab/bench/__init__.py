"""Speed and memory beside the floor of this machine: python -m lab.bench."""
