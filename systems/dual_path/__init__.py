"""System 3: two CNNs under one classifier."""
