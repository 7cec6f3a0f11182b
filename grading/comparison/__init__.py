"""Several runs side by side: what each is, whether one is ahead, and on which queries."""
