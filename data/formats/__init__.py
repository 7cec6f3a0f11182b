"""One layout of files each."""
