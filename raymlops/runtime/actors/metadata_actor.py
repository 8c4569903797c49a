"""The one writer of the metadata database, in a process of its own."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

from raymlops.config.platform import PlatformConfig
from raymlops.metadata import Metadata, MetadataService
from raymlops.metadata.openlineage import Emitter, ObservedRuns, transports_of
from raymlops.metadata.traced import TracedLedger, TracedRuns
from raymlops.runtime.cluster.clients import Parts
from raymlops.runtime.cluster.clocks import own_clock
from raymlops.tracing import open_loop_tracer

__all__ = ["MetadataActor"]


class MetadataActor(Parts):
    """The stores of the configured database, which emit OpenLineage events of runs where that is configured."""

    def __init__(self, config: PlatformConfig) -> None:
        self._platform_home = str(config.home)
        self._clock = clock = own_clock(config)  # not by asking this actor
        metadata = MetadataService(
            config.metadata_url,
            clock=clock,
            lock_timeout_s=config.metadata.busy_timeout.total_seconds(),
            home=config.home,
        )
        openlineage = config.metadata.openlineage
        metadata.runs = ObservedRuns(metadata, Emitter(transports_of(openlineage)), clock, openlineage.namespace)
        if config.tracing.enabled:
            tracer, ids = open_loop_tracer(config.tracing)
            metadata.runs = TracedRuns(metadata.runs, tracer, ids)
            metadata.ledger = TracedLedger(metadata, tracer, ids)
        self.parts = {store.name: getattr(metadata, store.name) for store in fields(Metadata)}

    def home(self) -> str:
        """The home whose platform this is: a cluster holds one platform."""
        return self._platform_home

    def now(self) -> datetime:
        """The present instant of the platform's clock, for nodes that have no file of it."""
        return self._clock.now()
