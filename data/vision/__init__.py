"""Pictures to rows, or to crops for towers that read pixels."""
