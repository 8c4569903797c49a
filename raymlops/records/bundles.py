"""What delivery builds and deploys."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field, JsonValue

from raymlops.records.record import Instant, Record

__all__ = [
    "BundleManifest",
    "CheckResult",
    "Deployment",
    "DeploymentStore",
    "ProjectData",
    "ProjectReplay",
    "ProjectResources",
    "ProjectSpec",
    "ServedBefore",
    "Source",
]


class ProjectData(Record):
    """The table that a project is about: what ``raymlops init`` read, and what ``raymlops replay`` plays."""

    table: str
    """Path from the project's directory, or a URI, of a Parquet, CSV or Delta table."""
    label: str
    """Column with what is predicted."""
    event_time: str
    """Column with the time of each row."""
    entities: tuple[str, ...] = ()
    """Columns that name what a row is about."""
    label_time: str | None = None
    """Column with the time at which each label became known; null: ``label_delay`` after the row."""
    label_delay: str = "0s"
    """How long after its row a label becomes known, such as ``1d``."""
    time_zone: str = "UTC"
    """Zone of times that are written without one."""
    classes: tuple[str, ...] = ()
    """Values of the label, in the order of the class numbers that the model knows them by; none of a regression."""
    events_view: str | None = None
    """View that gets each row once it has happened, a microsecond after its time; null: none does."""
    outcomes_view: str | None = None
    """View that gets each row with its label, at the time at which that became known."""


class ProjectReplay(Record):
    """``replay`` of a ``project.yaml``: what ``raymlops replay`` does not derive from the table."""

    source: str | None = None
    """``module:function`` that returns ``raymlops.replay.ReplayTables``; null: the table that ``data`` names."""
    things: str = "rows"
    """What a request is about, in the plural, for people."""
    training_windows: int | None = Field(default=None, ge=1)
    """Windows that the first model is trained on; null: a quarter of them, eight at most."""
    windows: int | None = Field(default=None, ge=1)
    """Windows that are replayed after those, at most; null: all."""
    steps: tuple[str, ...] = ()
    """Lengths of a window's steps, such as ``1d``; after each, the loop takes a turn. None: derived."""
    sample: int | None = Field(default=None, ge=1)
    """Requests in a window, at most; null: so many that the replay takes some minutes."""
    first_run: dict[str, object] = Field(default_factory=dict)
    """Parameters of the first training run, over those of ``training``."""


class ProjectResources(Record):
    """What a project needs of a node, where that is more than any project does."""

    memory_bytes: int | None = Field(default=None, ge=1)
    """Free memory of one node for a run and the process that serves beside it; null: 1 GiB."""


class ProjectSpec(Record):
    """``project.yaml`` of a user's project: what it is called and where its parts are."""

    name: str
    """Name of the pipeline; ``runs.start(NAME)`` runs it."""
    version: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Name of this state of the project, such as ``1.4.0``: two bundles of one version are refused. Null: no name."""
    model: str
    """Name of the model that its runs register versions of."""
    definitions: str
    """``module:name`` of the sequence of feature definitions."""
    service: str
    """Feature service the model is trained and served on."""
    spine: str
    """``module:function``: ``(reader, start, end)`` to keys, ``event_time``, ``label`` and request-time fields."""
    task: str = "classifier"
    """``classifier``, of two classes or several, or ``regressor``."""
    metric: str = "log_loss"
    """What is minimised: ``log_loss`` or ``brier`` of a classifier, ``rmse`` or ``mae`` of a regressor."""
    request_columns: tuple[str, ...] = ()
    """Spine columns that are model inputs as they are, in order; the service's features follow."""
    categories: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Model inputs that are categories although they are numbers; texts are anyhow."""
    segments: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Parts of the traffic that the model is monitored on apart: columns, whose values are judged one by one, or
    conditions such as ``distance > 1000 and origin = 'JFK'``."""
    replay: ProjectReplay = Field(default=ProjectReplay(), exclude_if=lambda value: value == ProjectReplay())
    """How the project is replayed as live operation."""
    training: dict[str, object] = Field(default_factory=dict)
    """Parameters of the training pipeline, overridden by those of a run."""
    resources: ProjectResources | None = Field(default=None, exclude_if=lambda value: value is None)
    """What is verified before the project's bundle is rehearsed somewhere; null: what any project needs."""
    data: ProjectData | None = Field(default=None, exclude_if=lambda value: value is None)
    """The project's own table, where it has one."""
    policy: dict[str, JsonValue] | None = Field(default=None, exclude_if=lambda value: value is None)
    """When the model is retrained, and how a candidate is tried: sections ``triggers``, ``retrain``, ``trial``,
    ``health`` and ``fallback`` of ``config.control``, where they differ from the platform's; ``environments``: name ->
    such sections."""


class Source(Record):
    """The commit that a bundle was built from."""

    commit: str
    """Hex SHA-1."""
    author: str
    branch: str | None = None
    dirty: bool = False
    """Whether a file differs from the commit."""


class CheckResult(Record):
    """What came of one of the checks that every project gets."""

    name: str
    outcome: Literal["passed", "failed", "not_applicable"]
    seconds: float
    evidence: str
    """What was seen, or why the check does not apply, in one line."""
    remedy: str = Field(default="", exclude_if=lambda value: not value)
    """What to do where it failed."""


class BundleManifest(Record):
    """An immutable, tested build of a project."""

    digest: str
    """Hex SHA-256 over the archive, the project and the lock."""
    project: ProjectSpec
    archive_sha256: str
    files: dict[str, str]
    """Path in the archive -> hex SHA-256."""
    lock_sha256: str
    """SHA-256 over the lock: the distributions it was tested with."""
    packages: dict[str, str] = Field(default_factory=dict, exclude_if=lambda value: not value)
    """Distribution -> version, as the lock has them; none in bundles of release 0.1, which locked all that was
    installed."""
    lock_from: str = Field(default="", exclude_if=lambda value: not value)
    """Whose hashes the lock has: ``project``, ``index``, or ``installed``, where no index was reachable."""
    python: str = Field(default="", exclude_if=lambda value: not value)
    """Version of Python that it was tested with, as ``3.11``; empty where that was not noted."""
    tests: dict[str, int]
    """``passed``, ``failed``, ``skipped``."""
    checks: dict[str, int] = Field(default_factory=dict, exclude_if=lambda value: not value)
    """``passed``, ``failed``, ``not_applicable``, of the checks that every project gets."""
    byproducts: dict[str, str] = Field(default_factory=dict, exclude_if=lambda value: not value)
    """File beside the archive -> hex SHA-256: the report of tests and checks, the bill of materials."""
    built_at: Instant
    built_by: str = Field(default="", exclude_if=lambda value: not value)
    """Account that built it first."""
    source: Source | None = Field(default=None, exclude_if=lambda value: value is None)
    """Its commit, where the project lies in a git checkout."""


class ServedBefore(Record):
    """What a deployment took out of service, and a roll-back puts back."""

    version: int
    service: str | None = None
    """Feature service whose features were joined."""


class Deployment(Record):
    """A bundle that is live in an environment."""

    environment: str
    bundle: str
    at: Instant
    reason: str = ""
    version: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Version of the model that it put in service; ``None`` where it left alone what is served."""
    replaced: ServedBefore | None = Field(default=None, exclude_if=lambda value: value is None)
    """What was served before that; ``None`` where nothing was."""
    ended: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether the environment is gone: then nothing is live in it."""


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
        """The latest deployment in an environment, of one pipeline or any; ``None``: there is none, or it ended."""
        ...

    def list_live_deployments(self) -> list[Deployment]:
        """The latest deployment of each pipeline in each environment, by environment, then pipeline.

        Those that ended are left out.
        """
        ...

    def list_deployments(self, environment: str, pipeline: str | None = None) -> list[Deployment]:
        """Deployments in an environment, of one pipeline or all, newest first."""
        ...
