"""The project's own files: what a newcomer and a cluster rest on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from benchmarks.datasets.table import DATASETS
from benchmarks.normalization import NORMALIZATIONS, Training
from benchmarks.parts import build, find
from benchmarks.protocols.table import PROTOCOLS
from benchmarks.representations.table import REPRESENTATIONS
from strategies.table import STRATEGIES
from tests.strategies.learnings import gaussian_windows, learning

ROOT = Path(__file__).resolve().parents[1]
TABLES = [DATASETS, NORMALIZATIONS, PROTOCOLS, REPRESENTATIONS, STRATEGIES]


def test_the_lock_names_no_address_and_pins_every_dependency() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pinned = set(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", lock, flags=re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        re.split(r"[\[<>=]", line)[0] for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    }
    assert {name.lower() for name in wanted} <= {name.lower() for name in pinned}


@pytest.mark.parametrize("name", [name for table in TABLES for name in table])
def test_the_readme_tells_of_every_part(name: str) -> None:
    assert re.search(rf"\b{name}\b", (ROOT / "README.md").read_text())


def test_the_strategy_in_the_guide_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    nearest = build(find("mine:Nearest", STRATEGIES, "strategy"), {"normalization": Training()}, {"neighbors": 3}, "s")
    cohort = gaussian_windows(["a", "b", "c"])
    predictor = nearest.fit(learning(cohort.of(["a", "b"])), lambda step, shown: None)
    held_out = cohort.of("c")
    said = predictor.predict(held_out.without(labels=True)).probabilities.argmax(axis=1)
    assert (said == held_out.labels).mean() > 0.8


def test_no_package_runs_code_when_it_is_imported() -> None:
    packages = [
        path
        for top in ("benchmarks", "clients", "strategies", "experiments")
        for path in (ROOT / top).rglob("__init__.py")
    ]
    assert packages
    for path in packages:
        assert re.fullmatch(r'"""[^"]+"""\n', path.read_text()), f"{path}: a docstring and nothing else"


def test_the_cluster_file_is_yaml_that_starts_ray_on_head_and_workers() -> None:
    cluster = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    assert any("ray start --head" in command for command in cluster["head_start_ray_commands"])
    assert any("ray start --address" in command for command in cluster["worker_start_ray_commands"])
    assert all((ROOT / source).is_file() for source in cluster["file_mounts"].values())
