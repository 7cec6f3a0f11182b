"""The built-in data set: drawn pictures and sentences about them."""
