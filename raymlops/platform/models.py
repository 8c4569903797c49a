"""Versions of models, as a user holds them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from raymlops import monitoring, runtime
from raymlops.errors import DataError
from raymlops.records.models import AliasChange, ModelVersion
from raymlops.records.shown import Listed

if TYPE_CHECKING:
    import pyarrow as pa

    from raymlops.experiments.streamed import Boosting
    from raymlops.features import TrainingSet
    from raymlops.platform import Platform
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["Models"]


class Models:
    """The registry.

    Args:
        platform: Whose models these are.
    """

    def __init__(self, platform: Platform) -> None:
        self._config = platform.config
        self._clock = platform.clock
        self._metadata = platform.metadata
        self._platform = platform

    def register(
        self,
        name: str,
        estimator: object,
        *,
        example: Any,
        metrics: Mapping[str, float] | None = None,
        training_set: TrainingSet | None = None,
    ) -> ModelVersion:
        """Package a fitted estimator and register it as the next version.

        Args:
            name: The model.
            estimator: A fitted model of XGBoost, LightGBM or scikit-learn, the path of an ``.onnx`` file, or a
                ``raymlops.PythonModel``, which is a class of a bundle.
            example: Some rows of the model's input columns, a table or a frame; gives the signature.
            metrics: What is known of its quality.
            training_set: What it was fitted on; gives the lineage and the drift reference. Without one, an example of
                100 rows is the reference; with fewer, drift is not watched, as ``unwatched`` of the version and
                ``raymlops status`` tell.

        Raises:
            DataError: The estimator or the example cannot be served; the message says why.
        """
        return self._operator.register(name, estimator, example, dict(metrics or {}), training_set)

    def train_streamed(
        self,
        name: str,
        view: str,
        task: LearningTask,
        boosting: Boosting,
        *,
        version: int | None = None,
        test_from: datetime | None = None,
    ) -> ModelVersion:
        """Train boosted trees on a view's table that need not fit in memory, and register them.

        Ray Data reads the table, XGBoost keeps it in binned pages on disk; the fit runs in this process.

        Args:
            name: The model.
            view: Its columns hold the inputs and the label, all numbers; rows without a label are left out.
            task: What is learned; the model's inputs have the columns' names.
            boosting: How.
            version: Version of the table; the newest by default.
            test_from: Rows from this instant on are judged on and not learned from.
        """
        work, cluster = self._config.home / "runs" / "streamed", self._config.cluster
        free_cpus_timeout_s = cluster.free_cpus_timeout.total_seconds()
        training = runtime.StreamedTraining(
            self._platform.reader, self._operator, work, free_cpus_timeout_s=free_cpus_timeout_s
        )
        return training.train(name, view, task, boosting, version=version, test_from=test_from)

    def list(self, name: str) -> Listed[ModelVersion]:
        """All versions, oldest first."""
        return Listed(self._metadata.models.list_versions(name))

    def get(self, name: str, version: int) -> ModelVersion:
        """One version."""
        return self._metadata.models.get_version(name, version)

    def verify(self, name: str, version: int) -> ModelVersion:
        """Check every file of a version against its manifest, then load it and ask it what it was asked when packaged.

        Raises:
            ModelLoadFailed: A file is missing or altered, or the model no longer answers as it did.
        """
        return self._operator.verify(name, version)

    def history(self, name: str) -> Listed[AliasChange]:
        """Every change of the aliases ``champion`` and ``backup``, oldest first."""
        return Listed(self._metadata.models.alias_history(name))

    def serving_at(self, name: str, when: datetime) -> int | None:
        """The version that was champion at an instant."""
        return self._metadata.models.serving_at(name, when)

    def rescore(self, name: str, version: int) -> dict[str, float]:
        """What a version would have answered to everything that was asked of the model: request id -> score.

        Requests of one row only; of several events of a request, the last one counts.
        """
        events = self.asked(name)
        if not events.num_rows:
            return {}
        scores = runtime.Rescorer(self._metadata.models).scores(name, version, events)
        return dict(zip(events["request_id"].to_pylist(), scores.tolist(), strict=True))

    def predictions(self, name: str, version: int) -> dict[str, tuple[float, ...]]:
        """As ``rescore``, with the whole answer: one probability per class, or the value of a regression.

        Raises:
            DataError: The version takes inputs that were not logged.
        """
        events = self.asked(name)
        if not events.num_rows:
            return {}
        outputs = runtime.Rescorer(self._metadata.models).outputs(name, version, events)
        if outputs is None:
            raise DataError(f"version {version} of {name!r} takes inputs that were not logged with what was asked")
        found = outputs["value"][:, None] if "value" in outputs else outputs["probability"]
        return dict(zip(events["request_id"].to_pylist(), map(tuple, found.astype(float).tolist()), strict=True))

    def asked(self, name: str) -> pa.Table:
        """The model's prediction log: one row per prediction event, with the model's inputs, in the order served."""
        return self._events.read(f"predictions/{name}", None, None, "served_at")

    def retire(self, name: str, version: int, *, reason: str = "on demand") -> ModelVersion:
        """See to it that a version is never served again; one that is in service is refused.

        Raises:
            InvalidTransition: It is champion, backup or on trial.
        """
        return self._platform.endpoints.retire(name, version, reason=reason)

    def card(self, name: str, version: int) -> tuple[dict[str, Any], str]:
        """The model card of a version that came out of a run: JSON values, and a page that opens without a network."""
        return self._operator.card(name, version)

    def lineage(self, name: str, version: int) -> dict[str, Any]:
        """The run, bundle, training set, table versions and parameters behind a version."""
        return self._lineages.of_version(name, version)

    def explain(self, request_id: str, model: str | None = None) -> dict[str, Any]:
        """Everything behind the answer to a request: version, run, code, data, and who promoted it and why.

        Args:
            request_id: The ``id`` that the answer carried.
            model: Which model was asked; left out, all prediction logs are looked through.
        """
        return self._lineages.of_request(request_id, model)

    def trained_on(self, table: str, version: int | None = None) -> Listed[ModelVersion]:
        """Versions of any model that were trained on a table, at one version of it or at any."""
        return Listed(self._lineages.trained_on(table, version))

    def rebuild_mlflow(self) -> int:
        """Bring MLflow up to date from the store, whatever it has lost; returns how much was written."""
        return self._platform.by_hand.rebuild_mlflow()

    @cached_property
    def _operator(self) -> runtime.ModelOperator:
        environment = self._platform.environment
        return runtime.ModelOperator(self._config.home, self._metadata, self._clock, environment)

    @cached_property
    def _events(self) -> monitoring.DeltaEventTables:
        return monitoring.DeltaEventTables(self._config.home / "monitor")

    @cached_property
    def _lineages(self) -> runtime.Lineages:
        return runtime.Lineages(self._metadata, self._events)
