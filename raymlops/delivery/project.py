"""A user's project: what it says of itself, and the files that belong to it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import ValidationError

from raymlops.config.reading.policy import check_policy
from raymlops.errors import ConfigError
from raymlops.records.bundles import ProjectSpec

__all__ = [
    "MAX_PROJECT_BYTES",
    "PROJECT_FILE",
    "SourceFile",
    "collect_files",
    "is_left_out",
    "parse_project",
    "read_project",
]

PROJECT_FILE = "project.yaml"
MAX_PROJECT_BYTES = 100 * 2**20
"""A bundle travels to every node; data belongs into tables."""

_LEFT_OUT = ("__pycache__",)
_LEFT_OUT_SUFFIXES = (".pyc", ".pyo", ".egg-info")


class SourceFile(NamedTuple):
    """A file of a project, read once: what is hashed, tested and shipped are the same bytes."""

    content: bytes
    executable: bool


def read_project(project_dir: Path) -> ProjectSpec:
    """The content of ``project.yaml``.

    Raises:
        ConfigError: It is missing, malformed, or a field is wrong.
    """
    file = project_dir / PROJECT_FILE
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: a project must have it: {error.strerror}", path=str(file)) from error
    project = parse_project(content, str(file))
    # Not in parse_project: a bundle whose policy an older release knew is still the bundle that was built.
    faults = [] if project.policy is None else check_policy(project.policy, name=str(file))
    if faults:
        raise ConfigError("; ".join(faults), path=str(file))
    return project


def parse_project(content: bytes, name: str) -> ProjectSpec:
    """Parse the bytes of a ``project.yaml``; ``name`` stands in messages.

    Raises:
        ConfigError: They are malformed, or a field is wrong.
    """
    try:
        return ProjectSpec.model_validate(yaml.safe_load(content))
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: must be YAML: {' '.join(str(error).split())}", path=name) from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError(f"{name}: {'; '.join(faults)}", path=name) from error


def collect_files(project_dir: Path) -> dict[str, SourceFile]:
    """Every file of a project by its relative path, sorted; hidden files and Python's caches are left out.

    Raises:
        ConfigError: A file is a link or no regular file, cannot be named in UTF-8, or all are too many bytes.
        OSError: A file cannot be read.
    """
    files: dict[str, SourceFile] = {}
    size = 0
    for path in _walk(project_dir):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{path}: a project must hold regular files only, no links", path=str(path))
        content = path.read_bytes()
        size += len(content)
        if size > MAX_PROJECT_BYTES:
            raise ConfigError(f"{project_dir}: must be at most {MAX_PROJECT_BYTES} bytes; {path} is one too many")
        files[path.relative_to(project_dir).as_posix()] = SourceFile(content, bool(mode & stat.S_IXUSR))
    return dict(sorted(files.items()))


def is_left_out(name: str) -> bool:
    """Whether a file or directory of this name is none of a project's: it is hidden, or Python's cache."""
    return name.startswith(".") or name in _LEFT_OUT or name.endswith(_LEFT_OUT_SUFFIXES)


def _walk(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if is_left_out(path.name):
            continue
        if not path.name.isprintable():
            raise ConfigError(f"a file's name must be printable, got {path.name!r} in {directory}")
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path
