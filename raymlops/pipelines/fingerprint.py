"""The content address of a step's execution: code, environment, parameters and inputs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from raymlops.errors import ConfigError
from raymlops.pipelines.step import Step
from raymlops.records.record import sha256_of

__all__ = ["code_digest", "environment_digest", "execution_key"]


def execution_key(
    step: Step,
    parameters: Mapping[str, object],
    inputs: Mapping[str, str],
    *,
    environment: str,
    run_id: str,
) -> str:
    """Hex SHA-256 that is equal exactly where an execution may be taken over.

    Args:
        step: The step.
        parameters: Values of the parameters that the step takes.
        inputs: Argument name -> digest of the artifact.
        environment: Digest of the libraries.
        run_id: Binds the key to this run where the step is not deterministic.

    Raises:
        ConfigError: A parameter has no JSON form, or the step's function no module.
    """
    try:
        return sha256_of(
            {
                "step": step.name,
                "function": f"{step.function.__module__}:{step.function.__qualname__}",
                "code": code_digest(step.function),
                "environment": environment,
                "parameters": dict(parameters),
                "inputs": dict(inputs),
                "outputs": dict(step.outputs),
                "run": None if step.deterministic else run_id,
            }
        )
    except TypeError as error:
        raise ConfigError(f"parameters of step {step.name!r} must be JSON values: {error}", step=step.name) from error


def code_digest(function: Callable[..., Any]) -> str:
    """Hex SHA-256 over the sources a function may depend on: its whole top-level package, or its file.

    The whole package and not what it imports: an import may hide behind a string, a stale cache behind that.

    Raises:
        ConfigError: The function's module has no file.
    """
    module = sys.modules[function.__module__]
    file = getattr(module, "__file__", None)
    if file is None:
        raise ConfigError(f"function {function.__qualname__!r} must be defined in a file, not in {module.__name__!r}")
    top = sys.modules.get(module.__name__.partition(".")[0])
    roots = _roots(top) if top is not None and "." in module.__name__ else ()
    return _sources_digest(roots or (file,))


def environment_digest(libraries: Iterable[str]) -> str:
    """Hex SHA-256 over the versions of Python, the machine's architecture and the named distributions.

    Raises:
        ConfigError: A distribution is not installed.
    """
    try:
        versions = {name: importlib.metadata.version(name) for name in libraries}
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"library {error.name!r} is not installed") from error
    return sha256_of({**versions, "python": platform.python_version(), "machine": platform.machine()})


def _roots(top: ModuleType) -> tuple[str, ...]:
    return tuple(sorted(str(path) for path in getattr(top, "__path__", ())))


@lru_cache(maxsize=32)
def _sources_digest(roots: tuple[str, ...]) -> str:
    """Read once per process: what a process runs is what it loaded, not what was saved meanwhile."""
    digest = hashlib.sha256()
    for root in map(Path, roots):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root.parent)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()
