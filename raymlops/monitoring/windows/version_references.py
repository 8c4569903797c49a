"""The references of model versions, each read once."""

from __future__ import annotations

from pathlib import Path

from raymlops.errors import DataError, ModelVersionNotFound
from raymlops.monitoring.events.ports import WindowMetadata
from raymlops.monitoring.profiles.profile import REFERENCE_FILE
from raymlops.monitoring.profiles.reference import Reference

__all__ = ["VersionReferences"]


class VersionReferences:
    """Finds the reference of a version beside its packaged files. Thread-safe: what it holds is a cache."""

    def __init__(self, metadata: WindowMetadata) -> None:
        self._metadata = metadata
        self._references: dict[tuple[str, int], Reference] = {}

    def of(self, model: str, version: int) -> tuple[Reference | None, str]:
        """A version's reference, or why there is none: one bad file must not keep the windows from closing."""
        if (model, version) not in self._references:
            try:
                path = Path(self._metadata.get_version(model, version).path) / REFERENCE_FILE
                self._references[model, version] = Reference.load(path)
            except ModelVersionNotFound:
                return None, f"version {version} is not registered"
            except FileNotFoundError:
                return None, f"version {version} has no {REFERENCE_FILE}"
            except (DataError, OSError) as error:
                return None, f"the reference of version {version} cannot be read: {error}"
        return self._references[model, version], ""

    def find(self, model: str, version: int) -> Reference | None:
        """The same without the reason."""
        return self.of(model, version)[0]
