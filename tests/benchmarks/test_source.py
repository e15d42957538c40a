from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import source
from benchmarks.errors import StudyError
from benchmarks.source import source_digest, source_files

FILES = {
    "lab/__init__.py": "",
    "lab/core.py": "VALUE = 1\n",
    "lab/deep/__init__.py": "from lab.deep import shared\n",
    "lab/deep/shared.py": "raise RuntimeError('nothing here is ever run')\n",
    "lab/deep/left.py": "from ..core import VALUE\nfrom . import helper\nimport json, numpy.linalg, not_installed\n",
    "lab/deep/helper.py": "import lab.deep.left\n",
    "lab/right.py": "def late():\n    from lab import late_part\n",
    "lab/late_part.py": "",
    "lab/alone.py": "import typing\nif typing.TYPE_CHECKING:\n    import lab.right\nelse:\n    import lab.other\n",
    "lab/other.py": "",
    "lab/loose/inner.py": "from lab.core import *\n",
    "lab/table.py": "PARTS = {'right': 'lab.right:Right'}\n",
    "lab/broken.py": "def (\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def forget() -> None:
    for name in ("source_files", "_content_digest", "_of_project", "_spec"):
        getattr(source, name).cache_clear()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write(tmp_path, FILES)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield tmp_path
    forget()


@pytest.mark.parametrize(
    ("module", "rests_on"),
    [
        ("lab.core", {"lab", "lab.core"}),
        (
            "lab.deep.left",
            {"lab", "lab.core", "lab.deep", "lab.deep.shared", "lab.deep.left", "lab.deep.helper"},
        ),
        ("lab.right", {"lab", "lab.right", "lab.late_part"}),
        ("lab.alone", {"lab", "lab.alone", "lab.other"}),
        ("lab.loose.inner", {"lab", "lab.loose.inner", "lab.core"}),
        ("lab.table", {"lab", "lab.table"}),
        ("lab", {"lab"}),
        ("json.decoder", set()),
        ("numpy.linalg", set()),
    ],
)
def test_what_a_module_rests_on(lab: Path, module: str, rests_on: set[str]) -> None:
    files = source_files(module)
    assert set(files) == rests_on
    assert {str(path.relative_to(lab)) for path in files.values()} <= set(FILES)


@pytest.mark.parametrize("edited", [name for name in FILES if name != "lab/broken.py"])
def test_an_edit_changes_the_digest_of_what_imports_it_and_of_nothing_else(lab: Path, edited: str) -> None:
    modules = ["lab.core", "lab.deep.left", "lab.deep.shared", "lab.right", "lab.alone", "lab.loose.inner", "lab.table"]
    before = {module: source_digest([module]) for module in modules}
    (lab / edited).write_text(FILES[edited] + "# edited\n")
    assert {module: source_digest([module]) for module in modules} == before, "memoised within a process"
    forget()
    changed = {module for module in modules if source_digest([module]) != before[module]}
    assert changed == {module for module in modules if lab / edited in source_files(module).values()}
    assert changed


def test_the_digest_depends_on_names_and_contents_not_on_places_or_order(
    lab: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = source_digest(["lab.right", "lab.core"])
    assert source_digest(["lab.core", "lab.right", "lab.core", "json"]) == here
    assert source_digest(["lab.core"]) != here
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, {name: text.replace("\n", "\r\n") for name, text in FILES.items()})
    monkeypatch.syspath_prepend(str(elsewhere))
    forget()
    assert source_files("lab.core")["lab.core"].is_relative_to(elsewhere)
    assert source_digest(["lab.right", "lab.core"]) == here


def test_a_new_line_in_a_table_of_parts_changes_nothing() -> None:
    # It imports the table of encoders, to read what a network was built from.
    assert "clients.encoders.table" not in source_files("clients.network")
    assert "clients.encoders.contract" in source_files("clients.network")


@pytest.mark.parametrize("table", sorted(source.TABLES))
def test_what_is_passed_over_as_a_table_of_parts_holds_nothing_else(table: str) -> None:
    (path,) = [Path(str(spec.origin)) for spec in [find_spec(table)] if spec is not None]
    doc, *rest = ast.parse(path.read_text()).body
    assert isinstance(doc, ast.Expr)
    (listed,) = [node for node in rest if not isinstance(node, ast.ImportFrom)]
    assert isinstance(listed, ast.Assign | ast.AnnAssign)
    assert all(isinstance(value, str) for value in ast.literal_eval(listed.value).values())


def test_our_own_packages() -> None:
    files = source_files("benchmarks.recipe")
    assert {"benchmarks", "benchmarks.recipe", "benchmarks.quality", "benchmarks.representations"} <= set(files)
    assert "benchmarks.representations.raw" not in files
    assert all(name.startswith("benchmarks") for name in files)


def test_nothing_is_imported_to_find_out() -> None:
    program = (
        "import sys; from benchmarks.source import source_files; "
        "files = source_files('clients.training'); source_files('torch.nn'); "
        "assert 'clients.training' in files; assert not {'torch', 'numpy', 'clients'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(source.__file__).parents[1])


@pytest.mark.parametrize("module", ["lab.no_such", "no_such_package", "no_such_package.part"])
def test_a_module_that_is_not_there(lab: Path, module: str) -> None:
    with pytest.raises(StudyError, match=f"No module '{module}': is it on the Python path"):
        source_files(module)


def test_source_that_cannot_be_read(lab: Path) -> None:
    with pytest.raises(StudyError, match=r"broken\.py, line 1: "):
        source_files("lab.broken")
