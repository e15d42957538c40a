"""Files of an MLflow store's runs: sent, looked for and removed; nothing that is not ours is touched."""

from __future__ import annotations

import shutil
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
            The address is a folder of another machine; nothing is left of the attempt.
        """
        path = _folder_of(place)
        if path is None or not self._doubted:
            self._at(place).log_artifacts(str(folder))
            return
        made = _first_that_is_missing(path)
        if not self._arrives(run_id, place, folder):
            if made is not None:
                shutil.rmtree(made, ignore_errors=True)
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


def _first_that_is_missing(path: Path) -> Path | None:
    return next((one for one in (*reversed(path.parents), path) if not one.exists()), None)
