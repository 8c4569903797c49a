"""Model versions and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from pydantic import Field

from raymlops.errors import InvalidTransition
from raymlops.records.learning.blessings import Blessing, missing_blessings
from raymlops.records.learning.signatures import Signature
from raymlops.records.record import Instant, Record

__all__ = [
    "AliasChange",
    "ModelManifest",
    "ModelRegistry",
    "ModelState",
    "ModelVersion",
    "StateChange",
    "trained_at",
]


class ModelManifest(Record):
    """The files of a packaged model. Its digest is the model's identity."""

    flavor: str
    """One of ``raymlops.flavors``: which library reads the model's file."""
    signature: Signature
    files: dict[str, str]
    """Relative path -> hex SHA-256."""
    libraries: dict[str, str]
    """Library -> version that wrote the files."""


class ModelState(StrEnum):
    """Where a version stands."""

    CANDIDATE = "candidate"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"
    RETIRED = "retired"
    """For good: it is never served again."""


class ModelVersion(Record):
    """One immutable version of a model; only ``state`` changes, with a reason, through the registry."""

    name: str
    version: int
    """1, 2, 3 ... without gaps."""
    state: ModelState = ModelState.CANDIDATE
    path: str
    """Directory that holds the packaged files."""
    manifest: ModelManifest
    digest: str
    """Hex SHA-256 of the manifest's canonical JSON."""
    metrics: dict[str, float] = Field(default_factory=dict)
    run_id: str | None = None
    training_set: str | None = None
    """Digest of the training-set manifest."""
    table_versions: dict[str, int] = Field(default_factory=dict)
    """Table -> Delta version the training set was built from."""
    environment: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The environment whose feature tables those are; ``None``: the platform's own."""
    bundle: str | None = None
    """Digest of the bundle whose code trained it."""
    parameters: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    blessings: tuple[Blessing, ...] = ()
    """What its run vouches for; empty for a version that was registered by hand."""
    mlflow_uri: str | None = None
    unwatched: str = ""
    """Why drift of its inputs is not watched, or of which not; empty where all are, and of versions out of runs."""
    created_at: Instant

    @property
    def tables(self) -> dict[str, int]:
        """``table_versions`` by full names: a table of an environment has the environment's name in front."""
        before = "" if self.environment is None else f"{self.environment}."
        return {f"{before}{table}": number for table, number in self.table_versions.items()}

    @property
    def unblessed(self) -> list[str]:
        """What keeps the version from being served; a version registered by hand is served on its user's word."""
        if self.state is ModelState.RETIRED:
            return ["it was retired"]
        if self.run_id is None:
            return []
        return missing_blessings(self.blessings, training_set=self.training_set, model=self.digest)

    def require_blessed(self) -> None:
        """Refuse to let the version be served.

        Raises:
            InvalidTransition: It was retired, or came out of a run that does not vouch for it.
        """
        problems = self.unblessed
        if problems:
            raise InvalidTransition(
                f"version {self.version} of {self.name!r} cannot be promoted: {'; '.join(problems)}",
                name=self.name,
                version=self.version,
            )


def trained_at(version: ModelVersion) -> datetime:
    """The instant whose knowledge a version was trained with: of its run, or when it was registered by hand."""
    as_of = version.parameters.get("as_of")
    return datetime.fromisoformat(as_of) if isinstance(as_of, str) else version.created_at


class AliasChange(Record):
    """One entry of an alias's history."""

    name: str
    alias: str
    """``champion`` or ``backup``."""
    version: int | None
    previous: int | None
    reason: str
    evidence: dict[str, Any] = Field(default_factory=dict)
    """JSON values the change rested on, such as the number of the serving plan."""
    at: Instant


class StateChange(Record):
    """One entry of a version's history of states."""

    name: str
    version: int
    state: ModelState
    previous: ModelState
    reason: str
    evidence: dict[str, Any] = Field(default_factory=dict)
    """JSON values the change rested on."""
    at: Instant


class ModelRegistry(Protocol):
    """Versions of models, their states and aliases, and the history of both."""

    def register_version(self, draft: ModelVersion, *, key: str) -> ModelVersion:
        """Give a draft the model's next version number and store it.

        Args:
            draft: With ``version`` 0 and state ``candidate``.
            key: Idempotency key within the model, for example the id of the run that made it.

        Returns:
            The version; where the key is known, the version first registered with it.

        Raises:
            DataError: The draft has a number or another state, or holds what has no JSON form.
        """
        ...

    def get_version(self, name: str, version: int) -> ModelVersion:
        """One version of a model.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def list_versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, oldest first; none where the model is unknown."""
        ...

    def list_models(self) -> list[str]:
        """Names of the models that have a version, sorted."""
        ...

    def trained_on(self, table: str, version: int | None = None) -> list[ModelVersion]:
        """Versions of any model whose training set was built from a table, at one version of it or at any.

        A table of another environment than the platform's own is called ``ENVIRONMENT.NAME``, as in ``tables``.
        They are in order of model and version.
        """
        ...

    def set_state(
        self,
        name: str,
        version: int,
        state: ModelState,
        *,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> ModelVersion:
        """Move a version to another state, and keep why: for people, and as JSON values.

        Raises:
            ModelVersionNotFound: There is no such version.
            InvalidTransition: It would become a candidate again, or is retired.
            DataError: There is no such state, or the evidence has no JSON form.
        """
        ...

    def state_history(self, name: str, version: int) -> list[StateChange]:
        """All changes of a version's state, oldest first.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def set_mlflow_uri(self, name: str, version: int, uri: str | None) -> ModelVersion:
        """Note where MLflow holds the version.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int | None,
        *,
        expected: int | None,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> AliasChange:
        """Point an alias at a version, or at none, provided that it still points at ``expected``.

        The alias's last change, asked for again with the same ``version`` and ``expected``, is accepted and answered;
        so is pointing it where it points. A repeat that comes after somebody else has moved the alias on and back is
        applied again: compare-and-set cannot tell.

        Returns:
            The change as it stands in the history.

        Raises:
            StaleWrite: The alias points elsewhere: read again, then decide again.
            ModelVersionNotFound: There is no such version.
            DataError: The evidence has no JSON form.
            InvalidTransition: No alias points at the version yet, and its run does not vouch for it.
        """
        ...

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version, for the aliases that point at one."""
        ...

    def alias_history(self, name: str) -> list[AliasChange]:
        """All changes of the model's aliases, oldest first."""
        ...

    def serving_at(self, name: str, when: datetime) -> int | None:
        """The version that was ``champion`` at an instant, ``None`` where none was."""
        ...
