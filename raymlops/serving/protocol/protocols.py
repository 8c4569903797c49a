"""Protocols of what serving needs from other packages; the runtime passes the objects in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from raymlops.flavors.protocol import Columns, Outputs

__all__ = [
    "CandidateClient",
    "Candidates",
    "Columns",
    "EventSink",
    "FeaturePlans",
    "LabelSink",
    "OnlineFeatures",
    "OnlineRows",
    "Outputs",
]


class OnlineRows(Protocol):
    """Features of N rows."""

    @property
    def columns(self) -> Mapping[str, Sequence[float | int | str | None]]:
        """Feature column -> N values; ``None`` where missing."""
        ...

    @property
    def event_times_us(self) -> Mapping[str, Sequence[int | None]]:
        """Feature view -> N event times of the rows joined, microseconds since 1970; ``None`` where there is none."""
        ...

    @property
    def missing(self) -> Sequence[Sequence[str]]:
        """Per row, the feature columns whose view had no valid row."""
        ...


class OnlineFeatures(Protocol):
    """The compiled online join of one feature service. Thread-safe."""

    @property
    def blocks(self) -> bool:
        """Whether ``read`` may wait for a server: then it is called in a thread, else on the event loop."""
        ...

    @property
    def request_columns(self) -> Sequence[str]:
        """Entity keys that each row must hold."""
        ...

    @property
    def feature_columns(self) -> Sequence[str]:
        """Columns that ``read`` answers."""
        ...

    def read(self, rows: Sequence[Mapping[str, object]], at_us: Sequence[int]) -> OnlineRows:
        """Join the features of N rows, each as of its own instant.

        Args:
            rows: N rows that hold the request columns, and maybe more.
            at_us: N instants, microseconds since 1970.

        Raises:
            DataError: A key has the wrong type.
            StorageError: The online store is not readable.
        """
        ...


class FeaturePlans(Protocol):
    """Compiles online joins. Called off the event loop; may block."""

    def plan(self, service: str, environment: str | None = None) -> OnlineFeatures:
        """The join of a feature service, ``NAME`` or ``NAME@VERSION``, in an environment; ``None``: the platform's own.

        Raises:
            FeatureViewNotFound: There is no such service.
        """
        ...


class CandidateClient(Protocol):
    """A version on trial, in a process of its own."""

    async def infer(self, columns: Columns, deadline_s: float) -> Outputs:
        """Ask the candidate; whatever it raises counts against it. Cancelled when the deadline is over."""
        ...


class Candidates(Protocol):
    """Gives clients of the versions on trial. Called off the event loop; may block."""

    def client(self, model: str, version: int) -> CandidateClient:
        """The client of one version on trial; it need not be up yet."""
        ...


class EventSink(Protocol):
    """Takes prediction events; usually the monitor."""

    async def send(self, model: str, table: pa.Table, batch_id: str) -> None:
        """Store a batch; returns once it is durable. A batch id that was stored before is acknowledged again."""
        ...


class LabelSink(Protocol):
    """Takes labels (ground truth); usually the monitor."""

    async def record(self, model: str, table: pa.Table, batch_id: str) -> int:
        """Store labels; returns how many rows, once they are durable. Idempotent by batch id."""
        ...
