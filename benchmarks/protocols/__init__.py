"""Which subjects are learned from and which are scored; table.py lists them by name."""
