"""Queries, explanations, example pages: from a run folder, without TensorFlow."""
