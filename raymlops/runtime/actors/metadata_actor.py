"""The one writer of the metadata database, in a process of its own."""

from __future__ import annotations

from raymlops.config.platform import PlatformConfig
from raymlops.metadata.openlineage import Emitter, ObservedMetadataService, transports_of
from raymlops.runtime.cluster.clocks import build_clock

__all__ = ["MetadataActor"]


class MetadataActor(ObservedMetadataService):
    """The metadata service on the configured database, which tells of runs where that is configured."""

    def __init__(self, config: PlatformConfig) -> None:
        self._platform_home = str(config.home)
        super().__init__(
            config.metadata_url,
            Emitter(transports_of(config.metadata.openlineage)),
            namespace=config.metadata.openlineage.namespace,
            clock=build_clock(config),
            lock_timeout_s=config.metadata.busy_timeout.total_seconds(),
            home=config.home,
        )

    def home(self) -> str:
        """The home whose platform this is: a cluster holds one platform."""
        return self._platform_home
