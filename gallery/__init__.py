"""Exact scores of a whole gallery: ranks by blocks, the nearest rows, the stored gallery."""
