"""Objectives by name."""

OBJECTIVES = {"cross_entropy": "clients.objectives.cross_entropy:CrossEntropy"}
