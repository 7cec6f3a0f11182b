"""Colours and resolution of every figure and page; imports nothing."""

INK, SOFT = "#1f2933", "#5f6b77"  # of contrast 15 and 5.4 with white
COLOURS = ("#2667ff", "#e9a23b", "#2a9d8f", "#7b5ea7", "#5c6b73", "#8c564b")  # red says "wrong"
BACKGROUND = "white"
SIDES = COLOURS[:2]  # text to image, image to text
DPI = 110
