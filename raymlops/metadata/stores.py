"""The stores of the metadata database, one for each entity.

Every store is thread-safe. A call that changes something returns once the change is on disk, and may be repeated
after a crash: by id, by key or by compare-and-set, an equal repeat is accepted and answers what the first call did.
Every call may raise ``StorageError`` where the database fails: it is full, locked, corrupt or gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raymlops.records.bundles import DeploymentStore
    from raymlops.records.learning.artifacts import ArtifactStore, ContextStore
    from raymlops.records.ledger import Ledger
    from raymlops.records.models import ModelRegistry
    from raymlops.records.people.alerts import AlertStore
    from raymlops.records.people.browsing import RecordBrowser
    from raymlops.records.plans import PlanStore
    from raymlops.records.runs import RunStore
    from raymlops.records.serving.keys import KeyStore
    from raymlops.records.windows import ProfileStore, WindowStore

__all__ = ["Metadata"]


@dataclass
class Metadata:
    """Every store by its name; in this process, or in the metadata actor. Take the one store that you need."""

    runs: RunStore
    artifacts: ArtifactStore
    contexts: ContextStore
    models: ModelRegistry
    plans: PlanStore
    ledger: Ledger
    windows: WindowStore
    profiles: ProfileStore
    deployments: DeploymentStore
    browser: RecordBrowser
    keys: KeyStore
    alerts: AlertStore
