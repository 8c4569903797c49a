"""The ledger, closed windows, deployments and API keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.keys import ApiKey
from raymlops.records.ledger import LedgerEntry
from raymlops.records.windows import WindowProfile, WindowRecord

__all__ = ["DeploymentStore", "KeyStore", "Ledger", "ProfileStore", "WindowStore"]


class Ledger(Protocol):
    """The append-only, hash-chained record of what was decided and done."""

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, object] | None = None, *, key: str
    ) -> LedgerEntry:
        """Append an entry.

        Args:
            subject: What it is about, usually a model's name.
            action: What is done.
            reason: Why, for people.
            evidence: What the decision rested on: JSON values.
            key: Idempotency key over the whole ledger.

        Returns:
            The entry; where the key is known, the first entry with it, whatever else is asked now.

        Raises:
            DataError: A value has no JSON form.
            LedgerBroken: The ledger's head is gone.
        """
        ...

    def entries(self, subject: str | None = None, after: int = 0) -> list[LedgerEntry]:
        """Entries, of one subject or all, with ``sequence`` above ``after``, in order.

        Raises:
            LedgerBroken: An entry cannot be read.
        """
        ...

    def verify_ledger(self) -> int:
        """Check every hash, every link and the head.

        Found are entries that were altered, removed (at the end too), added or moved. Not found is a rewrite of the
        whole chain from some entry on *with* its head, or a whole database put back from a backup, by somebody who may
        write to it. Against that, keep the count returned and the last entry's hash elsewhere and compare.

        Returns:
            The number of entries.

        Raises:
            LedgerBroken: The message and ``context["sequence"]`` say where.
        """
        ...


class WindowStore(Protocol):
    """Closed monitoring windows and their profiles, one per model and start."""

    def put_window(self, record: WindowRecord, profile: bytes) -> None:
        """Store a window; a later record of the same model and start replaces it, profile included."""
        ...

    def list_windows(
        self, model: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[WindowRecord]:
        """Windows of a model that start at or after ``start`` and before ``end``, by start."""
        ...

    def get_profile(self, model: str, start: datetime) -> bytes:
        """The profile of the window that starts at ``start``.

        Raises:
            NotFoundError: There is no such window.
        """
        ...


class ProfileStore(Protocol):
    """Profiles of closed windows by version, role and segment, and those of rows that came late."""

    def put_profiles(self, model: str, start: datetime, profiles: Sequence[WindowProfile]) -> None:
        """Store the profiles of one window, in place of all that it had."""
        ...

    def list_profiles(
        self, model: str, start: datetime | None = None, end: datetime | None = None, segment: str | None = None
    ) -> list[WindowProfile]:
        """Profiles of windows that start at or after ``start`` and before ``end``, of one segment or all, in order.

        The order is that of start, version, role, segment; rows that came late come after the others.
        """
        ...

    def late_rows(self, model: str, start: datetime | None = None, end: datetime | None = None) -> dict[datetime, int]:
        """Start of a window -> rows that came after it had closed; windows without any are left out."""
        ...

    def profile_marks(self, model: str) -> dict[str, int] | None:
        """How far a model's events have been added to its closed windows; ``None`` where that was never said."""
        ...

    def add_late_profiles(
        self,
        model: str,
        profiles: Sequence[WindowProfile],
        marks: Mapping[str, int],
        previous: Mapping[str, int] | None,
    ) -> None:
        """Put profiles in place of those of the same keys and move the marks, both or neither.

        A repeat changes nothing.

        Args:
            model: Name of the model.
            profiles: Of late rows.
            marks: How far events are added now.
            previous: The marks that this follows on.

        Raises:
            StaleWrite: The marks are others; nothing was written.
        """
        ...

    def drop_profiles(self, model: str, before: datetime) -> int:
        """Remove the profiles of windows that start before an instant; returns how many."""
        ...


class DeploymentStore(Protocol):
    """Bundles, and which of them is live in which environment."""

    def put_bundle(self, manifest: BundleManifest) -> BundleManifest:
        """Record a bundle; where its digest is known, the manifest first recorded stays and is returned."""
        ...

    def get_bundle(self, digest: str) -> BundleManifest:
        """The bundle with this digest.

        Raises:
            NotFoundError: None has.
        """
        ...

    def list_bundles(self, pipeline: str | None = None) -> list[BundleManifest]:
        """Bundles, of one pipeline or all, in the order they were recorded."""
        ...

    def put_deployment(self, deployment: Deployment) -> Deployment:
        """Record that a bundle is live; an exact repeat of its pipeline's latest in the environment adds nothing.

        Raises:
            NotFoundError: The bundle is not recorded.
        """
        ...

    def find_deployment(self, environment: str, pipeline: str | None = None) -> Deployment | None:
        """The latest deployment in an environment, of one pipeline or any; ``None`` where there is none."""
        ...

    def list_live_deployments(self) -> list[Deployment]:
        """The latest deployment of each pipeline in each environment, by environment, then pipeline."""
        ...

    def list_deployments(self, environment: str, pipeline: str | None = None) -> list[Deployment]:
        """Deployments in an environment, of one pipeline or all, newest first."""
        ...


class KeyStore(Protocol):
    """API keys."""

    def put_key(self, key: ApiKey) -> ApiKey:
        """Record a key; where its id is known, the key as it stands is returned.

        Raises:
            AlreadyRegistered: Another key has this id.
        """
        ...

    def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key open nothing any more; one that was revoked before stays as it is.

        Raises:
            NotFoundError: There is no such key.
        """
        ...

    def list_keys(self) -> list[ApiKey]:
        """All keys, those revoked among them, in the order they were made."""
        ...
