"""Scores of predictions; table.py lists them by name."""
