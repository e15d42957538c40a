"""Subjects as the clients of a federation, under Flower aggregators."""
