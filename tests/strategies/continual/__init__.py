"""Subjects one after another."""
