"""Every flag that more than one system reads: one dataclass field is one flag, and its help."""
