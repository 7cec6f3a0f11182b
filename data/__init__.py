"""What is read: data sets and their formats, built-in scenes, words, pictures, pairs of words."""
