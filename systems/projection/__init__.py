"""System 1: projection MLPs."""
