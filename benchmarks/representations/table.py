"""Representations by the name that a study file uses."""

from __future__ import annotations

from benchmarks.parts import Table

REPRESENTATIONS: Table = {
    "raw": "benchmarks.representations.raw:RawWindows",
    "differential_entropy": "benchmarks.representations.differential_entropy:DifferentialEntropy",
    "covariance": "benchmarks.representations.covariance:Covariance",
    "electrodermal": "benchmarks.representations.electrodermal:Electrodermal",
    "cardiac": "benchmarks.representations.cardiac:Cardiac",
    "respiration": "benchmarks.representations.respiration:Respiration",
    "temperature": "benchmarks.representations.temperature:Temperature",
    "movement": "benchmarks.representations.movement:Movement",
    "joined": "benchmarks.representations.joined:Joined",
    "multirate": "benchmarks.representations.multirate:Multirate",
}
