"""Skops files whose bytes depend on the estimator alone."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import PurePosixPath
from typing import Any

from raymlops.records.record import sha256_of

__all__ = ["canonical_skops"]

_SCHEMA = "schema.json"
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def canonical_skops(content: bytes) -> bytes:
    """The same estimator in a file that is equal for equal estimators; skops reads the one as it reads the other.

    Skops names objects, and the files of arrays, by their addresses in memory, and stamps the archive with the time.
    Here objects are numbered in the order of the schema, files are named by their content, and the time is fixed.

    Args:
        content: What ``skops.io.dumps`` gave.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != _SCHEMA}
        schema = json.loads(archive.read(_SCHEMA))
    names = {name: f"{sha256_of(data)[:32]}{PurePosixPath(name).suffix}" for name, data in files.items()}
    _rename(schema, names)
    _number(schema, {})
    renamed = {names[name]: data for name, data in files.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [*sorted(renamed.items()), (_SCHEMA, json.dumps(schema, indent=2).encode())]:
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def _rename(node: Any, names: dict[str, str]) -> None:
    """Name files by content, and put the items of sets, whose order is that of their hashes, in one order."""
    if isinstance(node, list):
        for each in node:
            _rename(each, names)
    elif isinstance(node, dict):
        if node.get("file") in names and "__loader__" in node:
            node["file"] = names[node["file"]]
        for each in node.values():
            _rename(each, names)
        if node.get("__loader__") == "SetNode":
            node["content"].sort(key=_without_ids)


def _without_ids(node: Any) -> str:
    if isinstance(node, list):
        return f"[{','.join(map(_without_ids, node))}]"
    if isinstance(node, dict):
        return f"{{{','.join(f'{key}:{_without_ids(each)}' for key, each in node.items() if key != '__id__')}}}"
    return json.dumps(node)


def _number(node: Any, numbers: dict[object, int]) -> None:
    """Number objects as they first appear; constants by what they are, since it is chance whether two are one."""
    if isinstance(node, list):
        for each in node:
            _number(each, numbers)
    elif isinstance(node, dict):
        if "__id__" in node:
            constant = node.get("__loader__") == "JsonNode"
            identity = (node["__class__"], node["content"]) if constant else node["__id__"]
            node["__id__"] = numbers.setdefault(identity, len(numbers))
        for each in node.values():
            _number(each, numbers)
