"""What the standard steps are given, and how they reach the user's project."""

from __future__ import annotations

import importlib
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import pyarrow as pa

from raymlops.clock import Clock
from raymlops.errors import ConfigError
from raymlops.pipelines.run_log import RunLog
from raymlops.records.bundles import ProjectSpec
from raymlops.records.features import TrainingSetManifest
from raymlops.records.models import ModelRegistry

if TYPE_CHECKING:
    from raymlops.experiments.searching.search import Tuner

__all__ = [
    "EVENT_TIME",
    "INPUTS",
    "LABEL",
    "LABEL_TIME",
    "PARAMETER_PREFIX",
    "TRAINED_UNTIL",
    "SpineFunction",
    "TrainingContext",
    "TrainingMetadata",
    "TrainingReader",
    "TrainingSet",
    "VersionedTables",
    "spine_function",
]

EVENT_TIME = "event_time"
"""Spine column: the instant a prediction would have been asked for."""
LABEL = "label"
"""Spine column: what was to be predicted; null where it is not known yet."""
LABEL_TIME = "label_time"
"""Spine column that may be there: the instant the label became known. It is never a model input."""
INPUTS = "inputs"
"""Parameter of a model version: digest of all that a run of its pipeline starts from, the instant apart."""
PARAMETER_PREFIX = "params."
"""Under which a model version keeps the parameters of its estimator; ``family`` is kept beside them."""
TRAINED_UNTIL = "trained_until"
"""Parameter of a model version: event time of the newest row it was fitted on."""


class TrainingSet(Protocol):
    """A point-in-time join, done."""

    @property
    def manifest(self) -> TrainingSetManifest:
        """What it is made of."""
        ...

    def table(self) -> pa.Table:
        """The spine's rows and columns, then a column per feature."""
        ...


class VersionedTables(Protocol):
    """What a spine function reads from."""

    def table(self, view: str, version: int | None = None) -> pa.Table:
        """Rows of a view's table, at a version of the table; the newest by default."""
        ...


class TrainingReader(VersionedTables, Protocol):
    """What the steps read of a feature store: ``features.FeatureReader`` fits it."""

    def training_set(
        self,
        service: str,
        spine: pa.Table,
        *,
        name: str,
        knowledge_cutoff: bool = False,
        table_versions: Mapping[str, int] | None = None,
    ) -> TrainingSet:
        """Join the features of a service to a spine, each as of its row's time."""
        ...


class TrainingMetadata(RunLog, Protocol):
    """The stores that the steps use."""

    models: ModelRegistry


SpineFunction = Callable[[VersionedTables, datetime, datetime], pa.Table]
"""``(reader, start, end)`` -> the rows with ``start <= event_time < end``: keys, ``event_time``, ``label``, and what a
request holds. It must read tables by ``reader`` alone."""


@dataclass(frozen=True)
class TrainingContext:
    """Everything a training run touches.

    Args:
        home: ``RAYMLOPS_HOME``; the feature store is in ``features/``, artifacts go to ``artifacts/``, models to
            ``models/``.
        reader: Reads the feature store.
        metadata: Runs, artifacts and models.
        tuner: Where trials run.
        clock: Tells when the run starts.
        project: What is trained.
        run_id: Identifies the run; a known one is resumed.
        work: Directory for what need not last; made where it is not there.
        bundle: Digest of the bundle that the run's code comes from.
        origin: Id of the first of the runs that this one resumes; its version is registered once for all of them.
        features: Root of the feature store; ``None``: ``features`` in the home.
        environment: The environment whose feature store that is; ``None``: the platform's own.
        storage_options: Options of the object store that the root is in.
    """

    home: Path
    reader: TrainingReader
    metadata: TrainingMetadata
    tuner: Tuner
    clock: Clock
    project: ProjectSpec
    run_id: str
    work: Path
    bundle: str | None = None
    origin: str | None = None
    features: Path | str | None = None
    environment: str | None = None
    storage_options: Mapping[str, str] | None = None

    @property
    def features_root(self) -> Path | str:
        """Root of the feature store."""
        return self.home / "features" if self.features is None else self.features

    def scratch(self, name: str) -> Path:
        """A path that is not taken, in a directory that is there, until the run ends."""
        place = self.work / "scratch"
        place.mkdir(parents=True, exist_ok=True)
        return place / f"{name}-{uuid.uuid4().hex[:12]}"

    def clear_scratch(self) -> None:
        """Remove all scratch paths."""
        shutil.rmtree(self.work / "scratch", ignore_errors=True)


def spine_function(path: str) -> SpineFunction:
    """Import the project's spine function.

    Args:
        path: ``module:function``.

    Raises:
        ConfigError: There is no such module or function; what it raised on import is the cause.
    """
    module, separator, name = path.partition(":")
    if not separator or not module or not name:
        raise ConfigError(f"spine must be 'module:function', got {path!r}", spine=path)
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"spine {path!r} cannot be imported: {error}", spine=path) from error
    if not callable(found):
        raise ConfigError(f"spine {path!r} must be a function, got {type(found).__name__}", spine=path)
    return cast("SpineFunction", found)
