"""A project's files, from templates in the layout of copier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from raymlops.errors import ConfigError

__all__ = ["ANSWERS_FILE", "TEMPLATES", "check_empty", "render_project", "write_files"]

TEMPLATES = Path(__file__).with_name("template")
"""Directory of the templates: ``copier.yml``, its questions, and ``project/`` with the files."""
ANSWERS_FILE = ".copier-answers.yml"

_SUFFIX = ".jinja"


def render_project(answers: Mapping[str, Any], *, source: str, version: str) -> dict[str, bytes]:
    """Relative path -> content of every file of a project.

    The rules are copier's: names are templates, too, and so is the content of what ends with ``.jinja``. Copier itself
    is not needed: it brings a newer template into a project, see ``docs/init.md``.

    Args:
        answers: Answers to the questions of the templates.
        source: Path or address of the git repository in which ``copier update`` finds newer templates.
        version: Tag of the templates there.
    """
    environment = SandboxedEnvironment(keep_trailing_newline=True, undefined=StrictUndefined)
    environment.filters["to_nice_yaml"] = _to_nice_yaml
    given = {**answers, "_copier_conf": {"answers_file": ANSWERS_FILE}}
    given["_copier_answers"] = {"_commit": version, "_src_path": source, **answers}
    files = {}
    root = TEMPLATES / "project"
    for path in sorted(root.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        name = environment.from_string(path.relative_to(root).as_posix()).render(given)
        content = path.read_bytes()
        if name.endswith(_SUFFIX):
            name = name.removesuffix(_SUFFIX)
            content = environment.from_string(content.decode()).render(given).encode()
        files[name] = content
    return files


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write a project's files into a directory that is empty or not there: all of them, or none.

    Raises:
        ConfigError: It is not empty, or cannot be written to.
    """
    check_empty(directory)
    draft = directory.with_name(f".{directory.name}.draft")
    try:
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if directory.exists():
            directory.rmdir()
        draft.rename(directory)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error.strerror}", path=str(directory)) from error


def check_empty(directory: Path) -> None:
    """Refuse a directory that holds something.

    Raises:
        ConfigError: It does, or is no directory.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} must be empty or not there", path=str(directory))


def _to_nice_yaml(value: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(value), indent=4, allow_unicode=True, default_flow_style=False))
