"""What the metadata store promises, entity by entity.

Everything here is thread-safe. A call that changes something returns once the change is on disk, and may be repeated
after a crash: by id, by key or by compare-and-set, an equal repeat is accepted and answers what the first call did.
Every call may raise ``StorageError`` where the database fails: it is full, locked, corrupt or gone.
"""

from __future__ import annotations

from typing import Protocol

from raymlops.metadata.protocols.alerts import AlertStore
from raymlops.metadata.protocols.contexts import ContextStore
from raymlops.metadata.protocols.journal import DeploymentStore, KeyStore, Ledger, ProfileStore, WindowStore
from raymlops.metadata.protocols.models import ModelRegistry, PlanStore
from raymlops.metadata.protocols.runs import ArtifactStore, RunStore

__all__ = [
    "AlertStore",
    "ArtifactStore",
    "ContextStore",
    "DeploymentStore",
    "KeyStore",
    "Ledger",
    "Metadata",
    "ModelRegistry",
    "PlanStore",
    "ProfileStore",
    "RunStore",
    "WindowStore",
]


class Metadata(
    RunStore,
    ArtifactStore,
    ContextStore,
    ModelRegistry,
    PlanStore,
    Ledger,
    WindowStore,
    ProfileStore,
    DeploymentStore,
    KeyStore,
    AlertStore,
    Protocol,
):
    """All of the above: what a client of the metadata store holds, be it local or an actor."""
