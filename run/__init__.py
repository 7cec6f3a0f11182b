"""One run is one folder: its files and their hashes, locks, logs, the devices it is trained on."""
