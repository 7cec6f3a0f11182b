"""A page in the browser that asks a run: what it serves, what it refuses, how it is started."""
