"""System 4: a residual network and a transformer."""
