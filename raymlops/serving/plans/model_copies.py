"""Model files on a node that did not write them: fetched once, verified, kept."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from raymlops.errors import ModelLoadFailed, StorageError
from raymlops.records.models import ModelManifest, ModelVersion

__all__ = ["ModelCopies"]

Fetch = Callable[[str, Sequence[str]], Mapping[str, bytes]]
"""``(directory, names) -> contents`` from wherever the directory is; blocks, raises ``ModelLoadFailed``."""


class ModelCopies:
    """Where a version's files lie on this node. Several processes may share the directory.

    Args:
        root: Copies are kept here, by the version's digest.
        fetch: Gets what is not here.
        keep: As many copies stay; those used longest ago go first.
    """

    def __init__(self, root: Path, fetch: Fetch, keep: int = 8) -> None:
        self._root = root
        self._fetch = fetch
        self._keep = keep

    def directory(self, version: ModelVersion) -> Path:
        """The registered directory where it is on this node, else a copy of it. Blocks.

        Raises:
            ModelLoadFailed: No node has the files, or they are not those of the manifest.
            StorageError: The copy cannot be written.
        """
        registered = Path(version.path)
        if registered.is_dir():
            return registered
        place = self._root / version.digest
        try:
            if not _is_whole(place, version.manifest):
                self._write(place, self._fetched(version))
            place.touch()
            self._forget()
        except OSError as error:
            raise StorageError(f"{place} cannot be written: {error}", path=str(place)) from error
        return place

    def _fetched(self, version: ModelVersion) -> Mapping[str, bytes]:
        contents = self._fetch(version.path, sorted(version.manifest.files))
        for name, digest in version.manifest.files.items():
            if hashlib.sha256(contents.get(name, b"")).hexdigest() != digest:
                raise ModelLoadFailed(f"{version.path}/{name} was fetched, and is not what the manifest says")
        return contents

    def _write(self, place: Path, contents: Mapping[str, bytes]) -> None:
        """Put a copy in place, whole or not at all; where another process was first, its copy stays."""
        self._root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=self._root))
        try:
            for name, content in contents.items():
                (draft / name).write_bytes(content)
            draft.rename(place)
        except OSError:
            if not place.is_dir():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _forget(self) -> None:
        copies = [copy for copy in self._root.iterdir() if not copy.name.startswith(".")]
        for copy in sorted(copies, key=lambda copy: copy.stat().st_mtime_ns)[: -self._keep]:
            shutil.rmtree(copy, ignore_errors=True)


def _is_whole(place: Path, manifest: ModelManifest) -> bool:
    try:
        return all(
            hashlib.sha256((place / name).read_bytes()).hexdigest() == digest for name, digest in manifest.files.items()
        )
    except OSError:
        return False
