"""Engines are loaded by tests as by the command: without telemetry."""

from __future__ import annotations

from experiments.environment import silence_telemetry

# Before any test module imports MLflow.
silence_telemetry()
