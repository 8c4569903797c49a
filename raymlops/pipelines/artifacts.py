"""Content-addressed artifacts on disk.

An artifact's digest is the SHA-256 of its bytes, of a directory's list of files and digests. It is written aside and
renamed, so it is there whole or not at all, and equal content is kept once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa

from raymlops.errors import DataError, NotFoundError, StorageError
from raymlops.records.record import Record, canonical_json, sha256_of
from raymlops.scratch import directory_lock, sync

__all__ = ["ArtifactKind", "ArtifactRef", "ArtifactStore", "content_digest"]

ArtifactKind = Literal["arrow", "json", "bytes", "directory"]

_STALE_S = 86_400.0


class ArtifactRef(Record):
    """A reference to an artifact."""

    digest: str
    kind: ArtifactKind


class ArtifactStore:
    """Artifacts under one directory. Any number of processes may read and write; nothing is ever altered in place.

    Args:
        root: Made where it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._aside = root / "tmp"
        with _storage(root):
            self._aside.mkdir(parents=True, exist_ok=True)
            self._sweep()

    def put(self, kind: ArtifactKind, value: Any) -> ArtifactRef:
        """Store a value; it is on disk when this returns.

        Args:
            kind: ``arrow`` takes a table, ``json`` JSON values and records, ``bytes`` bytes, ``directory`` the path of
                one that holds regular files only; it is copied.
            value: The value to store.

        Raises:
            DataError: The value is not of the kind.
            StorageError: The disk failed.
        """
        aside = self._aside / uuid.uuid4().hex
        with _storage(aside):
            try:
                digest = _write(kind, value, aside)
                self._publish(ArtifactRef(digest=digest, kind=kind), aside)
            finally:
                _remove(aside)
        return ArtifactRef(digest=digest, kind=kind)

    def get(self, artifact: ArtifactRef) -> Any:
        """Load a value: a memory-mapped table, JSON values, bytes, or the path of a directory not to be written to.

        Raises:
            NotFoundError: It is not there.
            StorageError: The disk failed.
        """
        path = self.path(artifact)
        with _storage(path):
            try:
                if artifact.kind == "directory":
                    path.stat()
                    return path
                if artifact.kind == "arrow":
                    with pa.memory_map(str(path)) as source:
                        return pa.ipc.open_file(source).read_all()
                content = path.read_bytes()
            except FileNotFoundError as error:
                raise NotFoundError(
                    f"artifact {artifact.digest} is not there: {path}", digest=artifact.digest
                ) from error
            return orjson.loads(content) if artifact.kind == "json" else content

    def verify(self, artifact: ArtifactRef) -> bool:
        """Whether it is there and its content still has its digest."""
        path = self.path(artifact)
        with _storage(path):
            try:
                return path.is_dir() == (artifact.kind == "directory") and content_digest(path) == artifact.digest
            except FileNotFoundError:
                # garbage collection may take an unclaimed artifact at any time: no check beforehand holds
                return False

    def claim(self, artifact: ArtifactRef) -> bool:
        """``verify``, of something that is about to be used: garbage collection then leaves it alone for a while."""
        # marked before it is checked: an artifact that was collected before is found missing, and made again
        with _storage(self.path(artifact)), suppress(FileNotFoundError), directory_lock(self._root, alone=False):
            os.utime(self.path(artifact))
        return self.verify(artifact)

    def path(self, artifact: ArtifactRef) -> Path:
        """The path of an artifact, stored or not."""
        return self._root / artifact.digest[:2] / artifact.digest

    def _publish(self, artifact: ArtifactRef, aside: Path) -> None:
        path = self.path(artifact)
        path.parent.mkdir(parents=True, exist_ok=True)
        if artifact.kind != "directory":
            with directory_lock(self._root, alone=False):
                aside.replace(path)
            return
        if path.exists():
            if self.claim(artifact):
                return
            path.rename(self._aside / f"{uuid.uuid4().hex}.broken")
        try:
            aside.rename(path)
        except OSError:
            # another process was first with the same content
            if not self.verify(artifact):
                raise

    def _sweep(self) -> None:
        """Remove what killed processes left behind long ago."""
        for left in self._aside.iterdir():
            try:
                stale = time.time() - left.stat().st_mtime > _STALE_S
            except FileNotFoundError:
                continue
            if stale:
                _remove(left)


def _write(kind: ArtifactKind, value: Any, aside: Path) -> str:
    if kind == "directory":
        return _copy(value, aside)
    if kind == "arrow":
        if not isinstance(value, pa.Table):
            raise DataError(f"an arrow artifact must be a table, got {type(value).__name__}")
        with pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_file(sink, value.schema) as writer:
            writer.write_table(value.combine_chunks())
    elif kind == "json":
        try:
            aside.write_bytes(canonical_json(value))
        except TypeError as error:
            raise DataError(f"a json artifact must be made of JSON values: {error}") from error
    elif isinstance(value, bytes):
        aside.write_bytes(value)
    else:
        raise DataError(f"a bytes artifact must be bytes, got {type(value).__name__}")
    sync(aside)
    return content_digest(aside)


def _copy(value: Any, aside: Path) -> str:
    source = Path(value)
    if not source.is_dir():
        raise DataError(f"a directory artifact must be the path of a directory, got {value!r}")
    odd = [str(path) for path in source.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if odd:
        raise DataError(f"a directory artifact must hold regular files only, got {odd}")
    shutil.copytree(source, aside)
    for path in aside.rglob("*"):
        if path.is_file():
            sync(path)
    return content_digest(aside)


def content_digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, or of a directory's list of files and digests."""
    if path.is_dir():
        return sha256_of({str(p.relative_to(path)): content_digest(p) for p in sorted(path.rglob("*")) if p.is_file()})
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid, orjson.JSONDecodeError) as error:
        raise StorageError(f"artifact file {path}: {error}", path=str(path)) from error
