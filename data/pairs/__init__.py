"""Captions that say a pair of words, such as brown_dog; and training without them."""
