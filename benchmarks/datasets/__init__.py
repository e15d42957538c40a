"""Data sets, one file each; table.py lists them by name."""
