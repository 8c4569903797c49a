"""Reads of features on a node where the writer does not run."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from raymlops.features.catalog.applied import CatalogState, ResolvedService, ResolvedView
from raymlops.features.online.online_store import OnlineStore

__all__ = ["DefinitionSource", "NodeCopy", "key_types_of"]


class DefinitionSource(Protocol):
    """The source of the applied definitions."""

    def state(self) -> CatalogState:
        """What is applied now.

        Raises:
            StorageError: it cannot be read.
            UnavailableError: the writer does not answer.
        """
        ...


class NodeCopy(DefinitionSource, Protocol):
    """The online side of a feature store whose tables are on another node. Thread-safe."""

    def key_types(self, view: ResolvedView) -> tuple[type, ...] | None:
        """``int`` or ``str`` for each key of a view; ``None`` as long as its table has no rows.

        Raises:
            UnavailableError: the writer does not answer.
        """
        ...

    def await_views(self, service: ResolvedService) -> None:
        """Wait until this node has what the writer has of a service's views now.

        Raises:
            UnavailableError: it does not before the deadline; the message names the view and how far it is.
        """
        ...

    def open(self) -> OnlineStore:
        """The online store of this node.

        Raises:
            StorageError: it cannot be opened.
        """
        ...


def key_types_of(view: ResolvedView, schema: Any) -> tuple[type, ...]:
    """``int`` or ``str`` for each key of a view, by the Arrow schema of its table."""
    return tuple(int if pa.types.is_integer(schema.field(key).type) else str for key in view.view.keys)
