"""Subjects met one after another, on the Avalanche template."""
