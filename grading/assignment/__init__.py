"""Assignments: data handed out with a shuffled test split, and what comes back, graded."""
