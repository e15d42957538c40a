"""Encoders by name."""

ENCODERS = {"mlp": "clients.encoders.mlp:MLP"}
