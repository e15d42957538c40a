"""Encoders by name."""

ENCODERS = {"braindecode": "clients.encoders.braindecode:Braindecode", "mlp": "clients.encoders.mlp:MLP"}
