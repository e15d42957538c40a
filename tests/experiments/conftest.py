"""Engines are loaded by tests as by the command: without telemetry."""

from __future__ import annotations

from experiments.environment import prepare

# Before any test module imports MLflow.
prepare()
