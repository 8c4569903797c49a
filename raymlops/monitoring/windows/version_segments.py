"""The segments that a model version is judged on: those of the platform's configuration, and its project's own."""

from __future__ import annotations

from raymlops.config.monitoring import SegmentsConfig
from raymlops.errors import NotFoundError
from raymlops.monitoring.events.ports import WindowMetadata

__all__ = ["VersionSegments"]


class VersionSegments:
    """Knows what a project declared by the bundle that trained a version. Thread-safe: what it holds is a cache.

    Args:
        metadata: Versions and bundles.
        config: The segments that the platform declares for its models.
    """

    def __init__(self, metadata: WindowMetadata, config: SegmentsConfig) -> None:
        self._metadata = metadata
        self._config = config
        self._projects: dict[str, tuple[str, ...]] = {}

    def of(self, model: str, version: int) -> tuple[str, ...]:
        """Columns and conditions, the platform's first, each once; a version without a bundle has the platform's."""
        return tuple(dict.fromkeys((*self._config.declared.get(model, ()), *self._project(model, version))))

    def _project(self, model: str, version: int) -> tuple[str, ...]:
        try:
            bundle = self._metadata.models.get_version(model, version).bundle
            if bundle is None:
                return ()
            if bundle not in self._projects:
                self._projects[bundle] = self._metadata.deployments.get_bundle(bundle).project.segments
            return self._projects[bundle]
        except NotFoundError:  # registered by hand, or elsewhere
            return ()
