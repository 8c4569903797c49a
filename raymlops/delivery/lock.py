"""The packages a bundle is tested with: exact versions with hashes, and no address to get them from."""

from __future__ import annotations

import re
import sysconfig
import threading
from collections.abc import Mapping
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from typing import NamedTuple

from packaging.utils import canonicalize_name, canonicalize_version

from raymlops.errors import ConfigError

__all__ = [
    "PARSING",
    "PLATFORM",
    "Installed",
    "Lock",
    "Pinned",
    "installed_distributions",
    "installed_lock",
    "package_faults",
    "read_lock",
    "versions_of",
]

PLATFORM = "raymlops"
"""The distribution that builds, deploys and runs bundles: a lock names its version, and carries no hash of it."""
PARSING = threading.RLock()
"""Held where Python source or markers are parsed: until 3.12, CPython fails where several threads do so at once."""
_PLATFORM_LINE = re.compile(rf"# {PLATFORM}==(?P<version>\S+)")
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>.+))?"
)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_NAMED = 5


class Pinned(NamedTuple):
    """A locked distribution."""

    version: str
    hashes: frozenset[str]
    """Hex SHA-256 of its files; none where they are not known."""
    marker: str = ""
    """Where it is to be installed, as PEP 508 says it; empty: everywhere."""


class Lock(NamedTuple):
    """A lock file, and where it comes from."""

    content: bytes
    origin: str
    """``project``: the project's own; ``index``: hashes are an index's; ``installed``: there are no hashes but those
    that installed packages tell of themselves."""
    note: str = ""
    """What is to be said of it; empty where all is well."""

    @property
    def packages(self) -> dict[str, str]:
        """Distribution -> version, of those that belong into this environment."""
        return versions_of(read_lock(self.content))


class Installed(NamedTuple):
    """A distribution that is installed, its metadata read once."""

    version: str
    requires: tuple[str, ...]
    """What it needs, as PEP 508 says it."""
    distribution: Distribution

    def file(self, name: str) -> str | None:
        """A file of its ``dist-info``; ``None`` where there is none."""
        return self.distribution.read_text(name)


def installed_distributions() -> dict[str, Installed]:
    """Normalised name -> distribution that is installed.

    Only the environment's own directories count: what a process has put on its import path besides them, as Ray's
    workers do, is no part of the environment.
    """
    places, parser = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}), HeaderParser()
    installed = {}
    for found in distributions(path=places):
        text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
        headers = parser.parsestr(text.partition("\n\n")[0])  # the long description after them is of no use here
        if headers["Name"] and headers["Version"]:
            requires = tuple(headers.get_all("Requires-Dist", []))
            installed[str(canonicalize_name(headers["Name"]))] = Installed(headers["Version"], requires, found)
    return installed


def installed_lock() -> bytes:
    """One line ``name==version`` per installed distribution, sorted: what bundles of release 0.1 were locked by."""
    return "".join(sorted(f"{name}=={found.version}\n" for name, found in installed_distributions().items())).encode()


def read_lock(content: bytes, name: str = "requirements.lock", *, hashed: bool = False) -> dict[str, Pinned]:
    """The distributions of a lock.

    Args:
        content: In the form that pip reads: ``name==version``, with ``--hash=sha256:...``.
        name: Stands in messages.
        hashed: Whether each must have a hash.

    Raises:
        ConfigError: A line is no exact version, lacks a hash, or says where to get something.
    """
    text = content.decode(errors="replace")
    found: dict[str, Pinned] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if platform := _PLATFORM_LINE.fullmatch(line.strip()):
            found[PLATFORM] = Pinned(platform["version"], frozenset())
        plain = " ".join(line.partition("#")[0].split())
        if not plain:
            continue
        head, *hashes = plain.split(" --hash=")
        pin = _PIN.fullmatch(head.strip())
        told = [_HASH.fullmatch(each.strip()) for each in hashes]
        if pin is None or None in told or (hashed and not hashes):
            rule = "each line must be name==version with --hash=sha256:..., and no address"
            raise ConfigError(f"{name}: {rule}, got {plain[:80]!r}", path=name)
        values = frozenset(each[1] for each in told if each is not None)
        found[str(canonicalize_name(pin["name"]))] = Pinned(pin["version"], values, pin["marker"] or "")
    return found


def versions_of(lock: Mapping[str, Pinned]) -> dict[str, str]:
    """Distribution -> version, of those whose marker holds here."""
    from packaging.markers import Marker

    with PARSING:
        return {name: each.version for name, each in lock.items() if not each.marker or Marker(each.marker).evaluate()}


def package_faults(packages: Mapping[str, str]) -> list[str]:
    """How the installed packages differ from those of a lock, such as ``numpy 2.3.1, here 2.4.0``.

    Installed packages that the lock does not name are no difference.
    """
    here = installed_distributions()
    faults = []
    for name, version in sorted(packages.items()):
        found = here.get(name)
        if found is None:
            faults.append(f"{name} {version}, here none")
        elif canonicalize_version(found.version) != canonicalize_version(version):
            faults.append(f"{name} {version}, here {found.version}")
    return faults if len(faults) <= _NAMED else [*faults[:_NAMED], f"and {len(faults) - _NAMED} more"]
