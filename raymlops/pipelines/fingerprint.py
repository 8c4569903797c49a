"""The content address of a step's execution: code, environment, parameters, inputs and versions of data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from raymlops.errors import ConfigError
from raymlops.pipelines.step import Step
from raymlops.records.record import Record, sha256_of

__all__ = ["KeyParts", "code_digest", "environment_digest", "key_parts"]

_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)
_OWN = __name__.partition(".")[0]


class KeyParts(Record):
    """All that an execution depends on, digest by digest."""

    step: str
    function: str
    code: str
    environment: str
    parameters: dict[str, str]
    inputs: dict[str, str]
    data: dict[str, str]
    outputs: dict[str, str]
    run: str | None
    """Id of the run it belongs to, where the step is not deterministic."""

    @property
    def key(self) -> str:
        """Hex SHA-256 that is equal exactly where an execution may be taken over."""
        return sha256_of(self)

    def difference(self, other: KeyParts) -> str:
        """Differences from an earlier fingerprint, in words."""
        changed = [
            name for name in ("function", "code", "environment", "outputs") if _of(self, name) != _of(other, name)
        ]
        for name in ("parameters", "inputs", "data"):
            mine, theirs = _of(self, name), _of(other, name)
            names = sorted(each for each in mine.keys() | theirs.keys() if mine.get(each) != theirs.get(each))
            changed += [f"{name} {names}"] if names else []
        if changed:
            return f"changed since its last execution: {', '.join(changed)}"
        if self.run != other.run:
            return "it is not deterministic: every run executes it"
        return "nothing in the cache: its entry was removed"


def _of(parts: KeyParts, name: str) -> Any:
    return getattr(parts, name)


def key_parts(
    step: Step,
    parameters: Mapping[str, object],
    inputs: Mapping[str, str],
    *,
    environment: str,
    run_id: str,
    data: Mapping[str, object] | None = None,
) -> KeyParts:
    """The fingerprint of an execution: everything that a step depends on.

    Args:
        step: The step.
        parameters: Values of the parameters that the step takes.
        inputs: Argument name -> digest of the artifact.
        environment: Digest of the libraries.
        run_id: Binds the key to this run where the step is not deterministic.
        data: Argument name -> version of the data the step reads by itself.

    Raises:
        ConfigError: A parameter or version has no JSON form, or the step's function no file.
    """
    try:
        return KeyParts(
            step=step.name,
            function=f"{step.function.__module__}:{step.function.__qualname__}",
            code=code_digest(step.function),
            environment=environment,
            parameters={name: sha256_of([value]) for name, value in parameters.items()},
            inputs=dict(inputs),
            data={name: sha256_of([step.data[name], version]) for name, version in (data or {}).items()},
            outputs=dict(step.outputs),
            run=None if step.deterministic else run_id,
        )
    except TypeError as error:
        raise ConfigError(f"parameters of step {step.name!r} must be JSON values: {error}", step=step.name) from error


def code_digest(function: Callable[..., Any]) -> str:
    """Hex SHA-256 over all sources a function may depend on, libraries aside.

    These are its whole top-level package, or its file; RayMLOps; and every package or module, outside of the
    directories that libraries are installed in, that one of these imports, and so on. Whole packages, and not what is
    called: an import may hide behind a string, a stale cache behind that.

    Raises:
        ConfigError: The function's module has no file.
    """
    module = sys.modules[function.__module__]
    if getattr(module, "__file__", None) is None:
        raise ConfigError(f"function {function.__qualname__!r} must be defined in a file, not in {module.__name__!r}")
    return _code_digest(module.__name__ if "." not in module.__name__ else module.__name__.partition(".")[0])


@lru_cache(maxsize=64)
def _code_digest(name: str) -> str:
    """Read once per process: what a process runs is what it loaded, not what was saved meanwhile."""
    roots, waiting = dict.fromkeys([*_roots(name), *_roots(_OWN)]), [name]
    seen = {name, _OWN}
    while waiting:
        for imported in sorted(_imports(waiting.pop()) - seen):
            seen.add(imported)
            if found := _roots(imported):
                roots |= dict.fromkeys(found)
                waiting.append(imported)
    return _sources_digest(tuple(roots))


def environment_digest(libraries: Iterable[str] | None) -> str:
    """Hex SHA-256 over the versions of Python, the machine's architecture and distributions.

    Args:
        libraries: Names of distributions; ``None``: all that are installed.

    Raises:
        ConfigError: A distribution is not installed.
    """
    if libraries is None:
        return _whole_environment()
    try:
        versions = {name: importlib.metadata.version(name) for name in libraries}
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"library {error.name!r} is not installed") from error
    return sha256_of({**versions, "python": platform.python_version(), "machine": platform.machine()})


@cache
def _whole_environment() -> str:
    installed = {found.metadata["Name"] or "": found.version for found in importlib.metadata.distributions()}
    return sha256_of({**installed, "python": platform.python_version(), "machine": platform.machine()})


def _roots(name: str) -> tuple[str, ...]:
    """Directories of a top-level package, or the file of a module; none of a library, or of what is not there."""
    module = sys.modules.get(name)
    paths = list(getattr(module, "__path__", ()) or ())
    file = getattr(module, "__file__", None)
    if module is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return ()
        if spec is None:
            return ()
        paths, file = list(spec.submodule_search_locations or ()), spec.origin
    found = sorted(str(path) for path in paths) or ([str(file)] if file and str(file).endswith(".py") else [])
    return tuple(path for path in found if name == _OWN or not _is_library(path))


def _is_library(path: str) -> bool:
    return any(Path(path).is_relative_to(place) for place in _library_places())


@cache
def _library_places() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(dict.fromkeys(sysconfig.get_paths()[name] for name in names))


def _imports(name: str) -> set[str]:
    """Top-level names that the sources of a package or module import."""
    found: set[str] = set()
    for _, content in _sources(_roots(name)):
        for whole, several in _IMPORT.findall(content):
            names = [whole] if whole else [each.split()[0] for each in several.split(b",") if each.split()]
            found |= {each.decode().partition(".")[0] for each in names}
    return {each for each in found if each and each not in sys.stdlib_module_names}


def _sources(roots: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for root in map(Path, roots):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            yield str(path.relative_to(root.parent)), path.read_bytes()


@lru_cache(maxsize=32)
def _sources_digest(roots: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name, content in _sources(roots):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
