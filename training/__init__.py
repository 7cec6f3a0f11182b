"""Batches, records after each epoch, the collapse watch, curricula."""
