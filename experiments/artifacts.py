"""Files of an MLflow store's runs: sent, looked for and removed; nothing that is not ours is touched."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

_LIST = "/api/2.0/mlflow/artifacts/list"


class Artifacts:
    """Files of the runs of one store.

    Where a run's files lie, the store says; each kind of storage throws errors of its own.

    Parameters
    ----------
    uri : str
        Address of the store.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        # The folder that a server names is one of the server's machine, which need not be this one.
        self._doubted = uri.startswith("http")

    def hold(self, place: str, names: Collection[str]) -> bool:
        """Whether files or folders of these names lie at the address `place`."""
        return set(names) <= self._names(place)

    def put(self, run_id: str, place: str, folder: Path) -> None:
        """Send all that is in a folder to a run.

        Parameters
        ----------
        run_id : str
            The run.
        place : str
            Address of its files.
        folder : Path
            What is sent.

        Raises
        ------
        OSError
            The address is a folder of another machine. Of the attempt nothing is left on this one, and what others
            put there stays.
        """
        path = _folder_of(place)
        if path is None or not self._doubted:
            self._at(place).log_artifacts(str(folder))
            return
        missing = [one for one in _folders_of(path, folder) if not one.exists()]
        if not self._arrives(run_id, place, folder):
            _take_back(path, folder, missing)
            raise OSError(
                f"the files of this experiment belong in {path}, a folder of the server's machine that this one does "
                f"not share. The values are published. For the files, start the server with --serve-artifacts and "
                f"without --default-artifact-root, give the experiment there another name, since an experiment keeps "
                f"its place, and publish again."
            )
        self._doubted = False

    def remove(self, place: str, names: Collection[str]) -> None:
        """Remove files and folders of these names; a storage that keeps them all the same costs nothing but room."""
        with suppress(Exception):
            for name in sorted(self._names(place).intersection(names)):
                self._at(place).delete_artifacts(name)

    def _names(self, place: str) -> set[str]:
        return {file.path for file in self._at(place).list_artifacts()}

    def _at(self, place: str) -> ArtifactRepository:
        return get_artifact_repository(place, tracking_uri=self._uri)

    def _arrives(self, run_id: str, place: str, folder: Path) -> bool:
        """Write into a folder that a server named, and ask the server whether it sees the files there."""
        try:
            self._at(place).log_artifacts(str(folder))
        except OSError:
            return False
        answer = http_request(get_default_host_creds(self._uri), _LIST, "GET", params={"run_id": run_id})
        augmented_raise_for_status(answer)
        seen = {file["path"] for file in answer.json().get("files", [])}
        return seen >= {file.name for file in folder.iterdir()}


def _folder_of(place: str) -> Path | None:
    """Folder that an address means; None where it means none."""
    parts = urlsplit(place)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _folders_of(path: Path, folder: Path) -> list[Path]:
    """Folders that hold what is sent from `folder` to `path`, with those above them, the deepest first."""
    inner = [path / one.relative_to(folder) for one in folder.rglob("*") if one.is_dir()]
    return sorted({*inner, path, *path.parents}, key=lambda one: len(one.parts), reverse=True)


def _take_back(path: Path, folder: Path, made: Collection[Path]) -> None:
    """Remove from `path` what was sent from `folder`, and those of the folders `made` that are empty then."""
    for one in folder.rglob("*"):
        if one.is_file():
            with suppress(OSError):
                (path / one.relative_to(folder)).unlink()
    for one in made:
        # Refused where somebody else has put something there meanwhile.
        with suppress(OSError):
            one.rmdir()
