"""Making a bundle's lock: the project's own, checked; or one of what is installed, with an index's hashes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raymlops.delivery.lock import (
    PARSING,
    PLATFORM,
    Installed,
    Lock,
    Pinned,
    installed_distributions,
    package_faults,
    read_lock,
    versions_of,
)
from raymlops.delivery.packages.declared import PYPROJECT, closure, declared_requirements, require_declared
from raymlops.delivery.programs import Finished, run_program
from raymlops.delivery.project import SourceFile
from raymlops.errors import ConfigError

__all__ = ["OWN_LOCK", "UV_LOCK", "index_hashes", "lock_project"]

OWN_LOCK, UV_LOCK = "requirements.lock", "uv.lock"
_TIMEOUT_S = 60.0
_PATIENCE = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "1"}
"""Of one request to an index, unless the user says otherwise: a machine without a network must not wait for minutes."""


def lock_project(files: Mapping[str, SourceFile], known: Iterable[bytes] = (), *, ask_index: bool = True) -> Lock:
    """The lock of a project's bundle.

    A lock that the project brings (``requirements.lock``, or ``uv.lock``) is checked, and taken as it is. Else the lock
    names what the project's requirements and those of RayMLOps lead to in this environment, which is what the tests run
    with; ``uv`` has the hashes from the index that it is set up for.

    Args:
        files: The project's.
        known: Locks of former bundles of the same files: one that names the same packages is taken again, since an
            index may have more files of a version by now.
        ask_index: Whether an index may be asked.

    Raises:
        ConfigError: The project imports what it does not declare, needs what is not installed, or its own lock is not
            what is installed.
    """
    installed = installed_distributions()
    with PARSING:
        requirements = declared_requirements(files)
        require_declared(files, requirements, installed)
        pins = closure(requirements, installed)
    for name in (OWN_LOCK, UV_LOCK):
        if name in files:
            return _own(name, files, pins)
    for content in known:
        lock = read_lock(content)
        if versions_of(lock) == pins and all(each.hashes for name, each in lock.items() if name != PLATFORM):
            return Lock(content, "index")
    told = _hashes_told(installed, pins)
    if not ask_index:
        return Lock(_written(told, "no index was asked"), "installed", "no index was asked")
    hashed, reason = index_hashes({name: version for name, version in pins.items() if name != PLATFORM})
    if reason:
        return Lock(_written(told, reason), "installed", reason)
    return Lock(_written({**hashed, PLATFORM: told[PLATFORM]}, ""), "index")


def _own(name: str, files: Mapping[str, SourceFile], pins: Mapping[str, str]) -> Lock:
    """The lock that the project brings."""
    content = files[name].content if name == OWN_LOCK else _exported(files)
    lock = read_lock(content, name, hashed=True)
    if PLATFORM not in lock:
        content = _written({**lock, PLATFORM: Pinned(pins[PLATFORM], frozenset())}, "")
        lock = read_lock(content)
    packages = versions_of(lock)
    missing = sorted(pins.keys() - packages.keys())
    if missing:
        rule = "must lock all that the project and RayMLOps need"
        raise ConfigError(f"{name}: {rule}, lacks {', '.join(missing[:5])}; lock the project again", path=name)
    if faults := package_faults(packages):
        remedy = "install the lock, or lock the project again"
        raise ConfigError(
            f"{name}: other packages are installed than it locks: {'; '.join(faults)}; {remedy}", path=name
        )
    return Lock(content, "project")


def _exported(files: Mapping[str, SourceFile]) -> bytes:
    """A ``uv.lock`` in the form that pip reads."""
    if PYPROJECT not in files:
        raise ConfigError(f"{UV_LOCK}: the project must have the {PYPROJECT} that it locks", path=UV_LOCK)
    with tempfile.TemporaryDirectory(prefix="raymlops-lock-") as scratch:
        for name in (UV_LOCK, PYPROJECT):
            (Path(scratch) / name).write_bytes(files[name].content)
        plain = ("--no-emit-project", "--no-header", "--no-annotate", "--no-dev")
        asked = ["export", "--quiet", "--frozen", "--offline", "--format", "requirements.txt", *plain]
        done = _uv(asked, Path(scratch))
    if done.code is None:
        raise ConfigError(f"{UV_LOCK}: was not read by uv within {_TIMEOUT_S:g} s", path=UV_LOCK)
    if done.code != 0:
        raise ConfigError(f"{UV_LOCK}: cannot be read by uv: {_first_error(done.errors)}", path=UV_LOCK)
    return done.output.encode()


def index_hashes(pins: Mapping[str, str]) -> tuple[dict[str, Pinned], str]:
    """The packages with the hashes of the index; or why there are none."""
    with tempfile.TemporaryDirectory(prefix="raymlops-lock-") as scratch:
        wanted, found = Path(scratch) / "pins.in", Path(scratch) / "pins.lock"
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        plain = ("--no-deps", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links")
        asked = ["pip", "compile", "--quiet", "--generate-hashes", *plain, "--python", sys.executable]
        done = _uv([*asked, "--output-file", str(found), str(wanted)], Path(scratch))
        if done.code is None:
            return {}, f"the index did not answer within {_TIMEOUT_S:g} s"
        if done.code != 0:
            return {}, _first_error(done.errors)
        lock = read_lock(found.read_bytes())
    bare = sorted(name for name, each in lock.items() if not each.hashes)
    return lock, f"the index has no hashes of {', '.join(bare[:5])}" if bare else ""


def _uv(arguments: list[str], directory: Path) -> Finished:
    from uv import find_uv_bin

    environment = {**_PATIENCE, **os.environ, "NO_COLOR": "1"}
    command = [find_uv_bin(), *arguments]
    return run_program(command, timeout_s=_TIMEOUT_S, directory=directory, environment=environment)


def _first_error(text: str) -> str:
    """The first line of what uv said, without the addresses of indexes in it."""
    line = next((line for line in text.splitlines() if line.strip()), "uv said nothing").removeprefix("error: ")
    return " ".join("(address)" if "://" in word else word for word in line.split())


def _hashes_told(installed: Mapping[str, Installed], pins: Mapping[str, str]) -> dict[str, Pinned]:
    """Installed distributions, with hashes of files that were installed by name: the only ones that Python keeps."""
    found = {}
    for name, version in pins.items():
        hashes: set[str] = set()
        if direct := installed[name].file("direct_url.json"):
            archive: dict[str, Any] = json.loads(direct).get("archive_info", {})
            hashes |= {value for kind, value in archive.get("hashes", {}).items() if kind == "sha256"}
        found[name] = Pinned(version, frozenset(hashes) if name != PLATFORM else frozenset())
    return found


def _written(lock: Mapping[str, Pinned], note: str) -> bytes:
    lines = [f"# {PLATFORM}=={lock[PLATFORM].version}"]
    if note:
        lines.append("# without the hashes of an index: what is installed")
    for name, each in sorted(lock.items()):
        if name != PLATFORM:
            pin = f"{name}=={each.version}" + (f" ; {each.marker}" if each.marker else "")
            lines.append(" \\\n    ".join([pin, *(f"--hash=sha256:{value}" for value in sorted(each.hashes))]))
    return ("\n".join(lines) + "\n").encode()
