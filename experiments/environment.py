"""Settings of the process that must stand before heavy libraries load: no telemetry, one thread a worker."""

from __future__ import annotations

import os

NO_TELEMETRY = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_MODE": "disabled",
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def silence_telemetry() -> None:
    """Switch telemetry of the engines off; a user who sets a variable has the last word."""
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
