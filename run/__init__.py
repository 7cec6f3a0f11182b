"""One run is one folder: its settings, its files, its figures, and the devices it is trained on."""
