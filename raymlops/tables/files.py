"""Whole files below a root, which is a directory or the URI of an object store."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

# The public file system of deltalake cannot write with this pyarrow; what it wraps can.
from deltalake._internal import DeltaFileSystemHandler
from pyarrow.fs import FileType

from raymlops.errors import ConfigError

__all__ = ["Files", "Root", "child", "failure", "open_files", "parse_root", "storage_options_for"]

Root = Path | str
"""A directory, or the URI of one in an object store, such as ``s3://bucket/features``."""

_BOUNDS = {"connect_timeout": "5s", "timeout": "60s", "max_retries": "5", "retry_timeout": "30s"}
"""What an object store is given before it counts as gone; options of the same names win."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Files(Protocol):
    """Whole files below one root, by their paths relative to it. Thread-safe."""

    def read(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
        """
        ...

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Make or replace a file: readers see the old one or the new one, and it is durable when this returns.

        Raises:
            OSError: nothing was written.
        """
        ...

    def list(self, directory: str = "") -> list[str]:
        """Paths of the files directly in a directory, sorted; none where there is no such directory.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def size_bytes(self, path: str) -> int:
        """Size of a file.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
        """
        ...

    def remove(self, prefix: str) -> None:
        """Remove the files directly below the root whose names have a prefix, half-written ones among them.

        Raises:
            OSError: one cannot be removed.
        """
        ...

    def remove_all(self) -> None:
        """Remove the root with all that is below it; nothing where there is none.

        Raises:
            OSError: something cannot be removed; the rest may be gone.
        """
        ...

    def uri(self, path: str) -> str:
        """The URI of a file, for messages."""
        ...


def parse_root(root: Root) -> Root:
    """A ``Path`` for what is on this machine, ``file://`` included; a URI without its last slash for the rest.

    Raises:
        ConfigError: the URI has no bucket, or carries credentials.
    """
    if isinstance(root, Path) or "://" not in root:
        return Path(root)
    parts = urlsplit(root)
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise ConfigError(f"root must be file:///PATH for a local directory, got {root!r}")
        return Path(unquote(parts.path))
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError(f"root must not carry credentials or options, got a {parts.scheme}:// URI that does")
    if not parts.netloc:
        raise ConfigError(f"root must name a bucket, as in s3://bucket/features, got {root!r}")
    return root.rstrip("/")


def child(root: Root, *names: str) -> Root:
    """A path below a parsed root."""
    return root.joinpath(*names) if isinstance(root, Path) else "/".join([root, *names])


def storage_options_for(root: Root, options: Mapping[str, str] | None) -> dict[str, str] | None:
    """Options of the object store, with bounds on how long it may be silent; ``None`` for a directory."""
    return None if isinstance(root, Path) else {**_BOUNDS, **(options or {})}


def failure(error: BaseException) -> str:
    """The message of a backend's error, on one line."""
    return " ".join(_COLOUR.sub("", str(error)).replace("↳", "").split())


def open_files(root: Root, options: Mapping[str, str] | None = None) -> Files:
    """The files below a parsed root.

    Args:
        root: From ``parse_root``.
        options: Options of the object store. Secrets come from its usual environment variables.
    """
    return LocalFiles(root) if isinstance(root, Path) else ObjectFiles(root, storage_options_for(root, options))


class LocalFiles:
    """``Files`` of a directory, which is made when something is written."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes | memoryview) -> None:
        target = self._root / path
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def list(self, directory: str = "") -> list[str]:
        try:
            entries = sorted((self._root / directory).iterdir())
        except FileNotFoundError:
            return []
        visible = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
        return [str(entry.relative_to(self._root)) for entry in visible]

    def size_bytes(self, path: str) -> int:
        return (self._root / path).stat().st_size

    def remove(self, prefix: str) -> None:
        if not self._root.is_dir():
            return
        for entry in list(self._root.iterdir()):
            if entry.name.removeprefix(".").startswith(prefix):
                entry.unlink(missing_ok=True)
        if not any(self._root.iterdir()):
            self._root.rmdir()

    def remove_all(self) -> None:
        if self._root.exists():
            shutil.rmtree(self._root)

    def uri(self, path: str) -> str:
        return str(self._root / path)


class ObjectFiles:
    """``Files`` of an object store; a put is atomic there."""

    def __init__(self, root: str, options: Mapping[str, str] | None) -> None:
        self._root = root
        self._options = dict(options or {})
        self._opened: Any = None

    @property
    def _store(self) -> Any:
        if self._opened is None:
            self._opened = DeltaFileSystemHandler(self._root, self._options)
        return self._opened

    def read(self, path: str) -> bytes:
        file = self._store.open_input_file(path)
        try:
            data: bytes = file.read(file.size())
        finally:
            file.close()
        return data

    def write(self, path: str, data: bytes | memoryview) -> None:
        # Nothing is there before close: what is cut off leaves no file.
        file = self._store.open_output_stream(path, None)
        file.write(bytes(data))
        file.close()

    def list(self, directory: str = "") -> list[str]:
        found = self._store.get_file_info_selector(directory, allow_not_found=True, recursive=False)
        return sorted(info.path for info in found if info.type == FileType.File)

    def size_bytes(self, path: str) -> int:
        (info,) = self._store.get_file_info([path])
        if info.type != FileType.File:
            raise FileNotFoundError(self.uri(path))
        return int(info.size)

    def remove(self, prefix: str) -> None:
        for path in self.list():
            if path.startswith(prefix):
                self._store.delete_file(path)

    def remove_all(self) -> None:
        found = self._store.get_file_info_selector("", allow_not_found=True, recursive=True)
        for info in found:
            if info.type == FileType.File:
                self._store.delete_file(info.path)

    def uri(self, path: str) -> str:
        return f"{self._root}/{path}"
