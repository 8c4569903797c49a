"""Bytes that depend on a project's files alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from raymlops.delivery.project import SourceFile

__all__ = ["pack", "unpack"]

_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def pack(files: Mapping[str, SourceFile]) -> bytes:
    """A zip archive of files: equal files, equal bytes, on every machine.

    Stored, not compressed: what a compressor gives depends on its version.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = (0o100755 if files[name].executable else 0o100644) << 16
            archive.writestr(entry, files[name].content)
    return buffer.getvalue()


def unpack(files: Mapping[str, SourceFile], directory: Path) -> None:
    """Write files below a directory that is there."""
    for name, file in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)
