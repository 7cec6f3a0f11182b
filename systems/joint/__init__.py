"""System 5: boxes and LSTMs that rank captions and write them."""
