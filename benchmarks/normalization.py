"""Normalisation modes: whose statistics make the windows of different subjects comparable."""
# (implemented per brief)
from typing import Literal

Geometry = Literal["vector", "channels", "spd"]
