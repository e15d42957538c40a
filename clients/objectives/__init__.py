"""Losses that an encoder is trained with, one file each; table.py lists them by name."""
