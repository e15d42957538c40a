"""Representations by the name that a study file uses."""

from __future__ import annotations

from benchmarks.parts import Table

REPRESENTATIONS: Table = {
    "raw": "benchmarks.representations.raw:RawWindows",
    "differential_entropy": "benchmarks.representations.differential_entropy:DifferentialEntropy",
    "covariance": "benchmarks.representations.covariance:Covariance",
}
