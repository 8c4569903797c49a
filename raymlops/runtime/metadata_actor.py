"""The one writer of the metadata database, in a process of its own."""

from __future__ import annotations

from raymlops.config.platform import PlatformConfig
from raymlops.metadata.service import MetadataService
from raymlops.runtime.clocks import build_clock

__all__ = ["MetadataActor"]


class MetadataActor(MetadataService):
    """The metadata service on the configured database."""

    def __init__(self, config: PlatformConfig) -> None:
        super().__init__(
            config.metadata_url, clock=build_clock(config), lock_timeout_s=config.metadata.busy_timeout.total_seconds()
        )
