"""Declared requirements of a project, compared with its imports and with the installed packages."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from raymlops.delivery.lock import PLATFORM, Installed
from raymlops.delivery.project import SourceFile
from raymlops.errors import ConfigError

__all__ = ["DECLARED_IN", "PYPROJECT", "closure", "declared_requirements", "require_declared"]

DECLARED_IN, PYPROJECT = "requirements.txt", "pyproject.toml"


def declared_requirements(files: Mapping[str, SourceFile]) -> list[Requirement]:
    """The requirements of a project, from ``requirements.txt`` and ``pyproject.toml``; RayMLOps is always one.

    Raises:
        ConfigError: A line is no requirement, or says where to get it.
    """
    found = [Requirement(PLATFORM)]
    for name, line in _lines(files):
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            rule = "must name a package and its versions (an index belongs into the settings of the machine)"
            raise ConfigError(f"{name}: a line {rule}, got {line!r}", path=name) from error
        if requirement.url is not None:
            raise ConfigError(
                f"{name}: {requirement.name!r} must be named by its version, not by an address", path=name
            )
        found.append(requirement)
    return found


def _lines(files: Mapping[str, SourceFile]) -> Iterator[tuple[str, str]]:
    if DECLARED_IN in files:
        for line in files[DECLARED_IN].content.decode(errors="replace").splitlines():
            plain = line.partition(" #")[0].strip()
            if plain and not plain.startswith("#"):
                yield DECLARED_IN, plain
    if PYPROJECT in files:
        try:
            document = tomllib.loads(files[PYPROJECT].content.decode(errors="replace"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{PYPROJECT}: must be TOML: {error}", path=PYPROJECT) from error
        for line in document.get("project", {}).get("dependencies", []):
            yield PYPROJECT, str(line)


def closure(requirements: Iterable[Requirement], installed: Mapping[str, Installed]) -> dict[str, str]:
    """Closure of requirements in this environment: distribution -> installed version.

    Raises:
        ConfigError: One of them is not installed, or in a version that it does not allow.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(each, "the project") for each in requirements]
    while waiting:
        requirement, asked_by = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = str(canonicalize_name(requirement.name))
        distribution = installed.get(name)
        version = None if distribution is None else distribution.version
        if distribution is None or not requirement.specifier.contains(distribution.version, prereleases=True):
            rule = f"{asked_by} needs {str(requirement).partition(';')[0].strip()}"
            got = "it is not installed" if version is None else f"{version} is installed"
            raise ConfigError(f"{rule}, and {got}: install it, so that the bundle is tested with it", package=name)
        found[name] = distribution.version
        for extra in sorted({"", *requirement.extras}):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(each, name) for each in _requires(distribution, extra)]
    return dict(sorted(found.items()))


def _requires(distribution: Installed, extra: str) -> Iterator[Requirement]:
    """Requirements of a distribution, of its own or for one of its extras."""
    for line in distribution.requires:
        requirement = Requirement(line)
        marker = requirement.marker
        plain = marker is None or marker.evaluate({"extra": ""})
        wanted = plain if not extra else not plain and marker is not None and marker.evaluate({"extra": extra})
        if wanted:
            requirement.marker = None
            yield requirement


def require_declared(
    files: Mapping[str, SourceFile], requirements: Iterable[Requirement], installed: Mapping[str, Installed]
) -> None:
    """Refuse a project that imports what it does not declare: neither itself nor by needing RayMLOps.

    Imports within ``if TYPE_CHECKING`` and those whose failing is caught do not count.

    Raises:
        ConfigError: It does; the message names module, file and package.
    """
    declared = {str(canonicalize_name(each.name)) for each in requirements}
    extras = {extra for each in requirements if each.name == PLATFORM for extra in each.extras}
    platform = installed.get(PLATFORM)
    if platform is not None:
        for extra in ("", *sorted(extras)):
            declared |= {str(canonicalize_name(each.name)) for each in _requires(platform, extra)}
    owners: Mapping[str, list[str]] | None = None
    own = _own_modules(files)
    for name, file in files.items():
        for module in sorted(_imports(name, file) - own - {PLATFORM} - set(sys.stdlib_module_names)):
            owners = packages_distributions() if owners is None else owners
            packages = sorted({str(canonicalize_name(each)) for each in owners.get(module, [])})
            if not declared.intersection(packages):
                told = f"imports {module!r}, which {packages[0]!r} has" if packages else f"imports {module!r}"
                remedy = f"name {'it' if not packages else repr(packages[0])} in {DECLARED_IN}"
                raise ConfigError(f"{name}: {told}, and the project does not declare it: {remedy}", path=name)


def _own_modules(files: Mapping[str, SourceFile]) -> set[str]:
    """Top-level names that a project's own files can be imported by, from its directory or from that of its tests."""
    paths = [PurePosixPath(name) for name in files if name.endswith(".py")]
    return {part for path in paths for part in (*path.parts[:-1], path.stem)}


def _imports(name: str, file: SourceFile) -> set[str]:
    """Top-level modules that a file imports."""
    if not name.endswith(".py"):
        return set()
    try:
        tree = ast.parse(file.content)
    except (SyntaxError, ValueError):  # its tests tell, if anything needs it
        return set()
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Try) and any(_catches_import(handler) for handler in node.handlers):
            waiting += [*node.handlers, *node.orelse, *node.finalbody]
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def _catches_import(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or any(
        name in ast.unparse(handler.type) for name in ("ImportError", "ModuleNotFoundError", "Exception")
    )
