"""The benchmarks' results as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tests.performance.measuring import Row, Target
from tests.performance.process import ROOT

_COLUMNS = ("entry", "work", "ours", "peer", "ours median", "peer median", "ratio", "target", "met")
_LIBRARIES = ("avalanche-lib", "flwr", "numpy", "ray", "torch")


def table_text(rows: Sequence[Row]) -> str:
    """One line a comparison, and below the table what else was measured."""
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    table.insert(1, "  ".join("-" * width for width in widths))
    notes = [
        f"{row.entry}, {row.ours}: " + (row.failed or ", ".join(f"{name} {value:.4g}" for name, value in facts.items()))
        for row in rows
        if (facts := dict(row.facts)) or row.failed
    ]
    return "\n".join([*table, "", *notes]).rstrip() + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    if row.failed is not None:
        figures = ("-", "-", "-")
    else:
        ratio = f"{1 / row.ratio:.2f} x faster" if row.target and row.target.faster else f"{row.ratio:.3f} x"
        figures = (f"{median(row.ours_all):.4g} {row.unit}", f"{median(row.peer_all):.4g} {row.unit}", ratio)
    met = {None: "-", True: "yes", False: "NO"}[row.met]
    return (row.entry, row.work, row.ours, row.peer, *figures, str(row.target or "-"), met)


def to_json(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Rows with all single times, and what they were measured on."""
    told = [
        {**asdict(row), "ratio": None if row.failed is not None else row.ratio, "met": row.met, "facts": {**row.facts}}
        for row in rows
    ]
    return json.dumps({"about": about, "rows": told}, indent=1) + "\n"


def from_json(text: str) -> list[Row]:
    """Rows that `to_json` has written."""
    rows = []
    for told in json.loads(text)["rows"]:
        given = {name: value for name, value in told.items() if name not in ("ratio", "met")}
        given["target"] = None if told["target"] is None else Target(**told["target"])
        rows.append(Row(**{**given, "ours_all": tuple(told["ours_all"]), "peer_all": tuple(told["peer_all"])}))
    return rows


def machine(peers: Path) -> dict[str, Any]:
    """What the benchmarks run on: the machine, how busy it is, and versions."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said(["git", "rev-parse", "--short", "HEAD"]),
        "uncommitted_changes": bool(_said(["git", "status", "--porcelain"])),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "peers": _peers(peers),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _peers(python: Path) -> dict[str, str]:
    code = "import json; from importlib.metadata import version as v; "
    code += "print(json.dumps({n: v(n) for n in ('numpy', 'pfl', 'torch')}))"
    told = _said([str(python), "-c", code]) if python.is_file() else ""
    versions: dict[str, str] = json.loads(told or "{}")
    return versions


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
