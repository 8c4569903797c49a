"""The feature definitions that a bundle declares, imported from its own files."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from raymlops.errors import ConfigError
from raymlops.features import Definition, FeatureService
from raymlops.records.bundles import ProjectSpec
from raymlops.records.delivering.environments import project_of_run

__all__ = ["bundle_definitions", "bundle_project"]


def bundle_definitions(project: ProjectSpec, sources: Mapping[str, bytes]) -> list[Definition]:
    """The definitions of a bundle, whose modules are forgotten again.

    Args:
        project: The project of the bundle's manifest.
        sources: Its files, as ``read_sources`` gave them.

    Raises:
        ConfigError: They cannot be imported.
    """
    with tempfile.TemporaryDirectory(prefix="raymlops-bundle-") as scratch:
        place = Path(scratch).resolve()
        for name, content in sources.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        with _importable(place, project.definitions.partition(":")[0].partition(".")[0]):
            return _imported(project)


def bundle_project(project: ProjectSpec, pipeline: str) -> ProjectSpec:
    """A bundle's project as a run of it has it, in the process that has the bundle's files on its path.

    The feature service is the version that this bundle defines, whatever newer one another bundle has applied.

    Args:
        project: The project of the bundle's manifest.
        pipeline: Of the run; other environments than the platform's own have their name in front.

    Raises:
        ConfigError: The definitions cannot be imported.
    """
    services = [each for each in _imported(project) if isinstance(each, FeatureService)]
    own = [each for each in services if project.service in {each.name, each.ref}]
    named = max(own, key=lambda each: each.version).ref if own else project.service
    return project_of_run(project, pipeline).model_copy(update={"service": named})


def _imported(project: ProjectSpec) -> list[Definition]:
    module, _, name = project.definitions.partition(":")
    try:
        return list(cast("Sequence[Definition]", getattr(importlib.import_module(module), name)))
    except Exception as error:  # whatever the user's module raises
        told = f"{type(error).__name__}: {error}"
        raise ConfigError(f"definitions {project.definitions!r} cannot be imported: {told}") from error


@contextmanager
def _importable(place: Path, top: str) -> Iterator[None]:
    """Have modules of a directory imported, in place of others of the same name, and forget them afterwards."""
    others = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == top}
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(place))
        sys.dont_write_bytecode = written
        for name, module in list(sys.modules.items()):
            ours = str(getattr(module, "__file__", None) or "").startswith(f"{place}/")
            if ours or name.partition(".")[0] == top:
                del sys.modules[name]
        sys.modules.update(others)
