"""Wheels that travel with a bundle, so that installing its packages needs no index.

They stand beside the lock, whose hashes are their check: a bundle is the same bundle with and without them.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_version, parse_wheel_filename

from raymlops.delivery.lock import PLATFORM, Pinned, installed_distributions, read_lock, versions_of
from raymlops.delivery.programs import run_program
from raymlops.errors import ConfigError, DeploymentError
from raymlops.scratch import Scratch

__all__ = ["WHEELS", "carry_wheels", "install_wheels", "verify_installed", "verify_wheels"]

WHEELS = "wheels"
_TIMEOUT_S = 1800.0


def carry_wheels(lock_file: Path, target: Path) -> Path:
    """Download the wheels of a lock into a directory, which appears whole or not at all.

    Args:
        lock_file: Names each package with its hashes.
        target: Where they go; taken as it is where it is there.

    Raises:
        ConfigError: The lock has no hashes, or pip is not installed.
        DeploymentError: A wheel cannot be had, or is not what the lock says.
    """
    lock = read_lock(lock_file.read_bytes())
    bare = sorted(name for name, each in lock.items() if name != PLATFORM and not each.hashes)
    if bare:
        raise ConfigError(f"wheels need a lock with hashes: it has none of {', '.join(bare[:5])}; build with an index")
    if not target.exists():
        if importlib.util.find_spec("pip") is None:
            raise ConfigError("carrying wheels downloads them by pip, which must be installed: python -m ensurepip")
        with Scratch("wheels", target.parent) as scratch:  # gigabytes, which go also where a build is killed
            staging = scratch / WHEELS
            staging.mkdir()
            _download(lock_file, staging)
            _check(staging, lock)
            staging.chmod(0o755)
            staging.rename(target)
    verify_wheels(target, lock_file)
    return target


def verify_wheels(directory: Path, lock_file: Path) -> None:
    """Check that a directory holds a wheel of each locked package, each as its hash says, and nothing else.

    Raises:
        DeploymentError: A wheel is missing, altered or none of the lock's; the message names it.
    """
    _check(directory, read_lock(lock_file.read_bytes()))


def install_wheels(directory: Path, lock_file: Path, python: Path) -> None:
    """Install the packages of a lock from its wheels, asking no index, into the environment of an interpreter.

    Raises:
        DeploymentError: A wheel is missing or altered, or does not fit the environment.
    """
    from uv import find_uv_bin

    verify_wheels(directory, lock_file)
    plain = ["--offline", "--no-index", "--no-deps", "--require-hashes", "--find-links", str(directory)]
    command = [find_uv_bin(), "pip", "install", "--python", str(python), *plain, "-r", str(lock_file)]
    done = run_program(command, timeout_s=_TIMEOUT_S, environment={**os.environ, "NO_COLOR": "1"})
    if done.code is None:
        told = f"the wheels of {directory} were not installed within {_TIMEOUT_S:g} s: install them again"
        raise DeploymentError(told, path=str(directory))
    if done.code != 0:
        raise DeploymentError(
            f"the wheels of {directory} cannot be installed: {_told(done.errors)}", path=str(directory)
        )


def verify_installed(directory: Path) -> None:
    """Check that what is installed is what the wheels in a directory hold, file by file, by what both record of it.

    Raises:
        DeploymentError: A file differs; the message names the package.
    """
    here = installed_distributions()
    for path in sorted(directory.glob("*.whl")):
        name = str(parse_wheel_filename(path.name)[0])
        found = here.get(name)
        installed = {} if found is None else _recorded(found.file("RECORD") or "")
        with zipfile.ZipFile(path) as wheel:
            # a wheel may hold the RECORDs of others that it ships, further down
            own = [each for each in wheel.namelist() if each.endswith(".dist-info/RECORD") and each.count("/") == 1]
            carried = _recorded(wheel.read(own[0]).decode()) if own else {"RECORD": "missing"}
        for file, digest in carried.items():
            if ".data/" not in file and installed.get(file) != digest:
                raise DeploymentError(f"{name}: {file} is installed in another form than {path.name} carries it")


def _recorded(text: str) -> dict[str, str]:
    """File -> hash, of the files that a RECORD has a hash of."""
    return {row[0]: row[1] for row in csv.reader(io.StringIO(text)) if len(row) >= 2 and row[1]}


def _download(lock_file: Path, target: Path) -> None:
    plain = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input", "-d", str(target)]
    command = [sys.executable, "-m", "pip", "download", *plain, "-r", str(lock_file)]
    done = run_program(command, timeout_s=_TIMEOUT_S)
    if done.code is None:
        raise DeploymentError(f"the wheels could not be downloaded within {_TIMEOUT_S:g} s")
    if done.code != 0:
        raise DeploymentError(f"the wheels could not be downloaded: {_told(done.errors)}")


def _told(text: str) -> str:
    lines = [line.strip().removeprefix("ERROR: ") for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else "nothing was said"
    return " ".join("(address)" if "://" in word else word for word in line.split())


def _check(directory: Path, lock: Mapping[str, Pinned]) -> None:
    wanted = {name: lock[name] for name in versions_of(lock) if name != PLATFORM}
    if not directory.is_dir():
        raise DeploymentError(f"{directory}: the bundle carries no wheels", path=str(directory))
    seen = set()
    for path in sorted(directory.iterdir()):
        try:
            name, version, *_ = parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise DeploymentError(f"{path}: must be a wheel of the lock, and is none", path=str(path)) from error
        pinned = wanted.get(str(name))
        if pinned is None or canonicalize_version(version) != canonicalize_version(pinned.version):
            raise DeploymentError(f"{path}: must be a wheel of the lock, and is none", path=str(path))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest not in pinned.hashes:
            raise DeploymentError(f"{path}: must have a hash of the lock, got {digest}", path=str(path))
        seen.add(str(name))
    missing = sorted(wanted.keys() - seen)
    if missing:
        raise DeploymentError(f"{directory}: lacks the wheel of {', '.join(missing[:5])}", path=str(directory))
