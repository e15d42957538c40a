"""Tests of clients.objectives."""
