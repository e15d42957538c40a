"""What an encoder sees, one file each; table.py lists them by name."""
