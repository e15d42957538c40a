"""Settings of the process that must stand before heavy libraries load."""

from __future__ import annotations

import os

NO_TELEMETRY = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_MODE": "disabled",
}
# What later versions of Ray do anyway; this one announces it at every start.
_RAY = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def prepare() -> None:
    """Switch telemetry of the engines off; a user who sets a variable has the last word."""
    for name, value in {**NO_TELEMETRY, **_RAY}.items():
        os.environ.setdefault(name, value)
