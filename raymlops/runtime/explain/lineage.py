"""Lineage of a version and of an answer: data, code, parameters, run, and the promotion."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from raymlops.errors import NotFoundError
from raymlops.metadata import Metadata
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import AliasChange, ModelVersion
from raymlops.records.plans import ServingPlan

__all__ = ["Lineages", "PredictionLog"]

_ALIASES = {"champion": "champion", "backup": "backup"}
_FACTS = ("row", "event_time", "served_at", "version", "role", "score", "label_predicted", "fallback", "error")
_PLAN_ACTIONS = frozenset(
    {"deploy", "start_trial", "promote", "roll_back", "fall_back", "block_version", "unblock_version", "take_back"}
)


class PredictionLog(Protocol):
    """The logged predictions: ``DeltaEventTables`` fits it."""

    def batches(self, name: str, start: datetime | None, end: datetime | None, column: str) -> Iterator[pa.Table]:
        """Rows of an event table, in no order."""
        ...


class Lineages:
    """Answers from records alone; nothing is recomputed.

    Args:
        metadata: Runs, versions, plans and the ledger.
        log: Prediction events, in tables ``predictions/MODEL``.
    """

    def __init__(self, metadata: Metadata, log: PredictionLog) -> None:
        self._metadata = metadata
        self._log = log

    def of_version(self, name: str, version: int) -> dict[str, Any]:
        """Inputs and run of a version, and its history since, as JSON values.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        found = self._metadata.models.get_version(name, version)
        run = None if found.run_id is None else self._metadata.runs.get_run(found.run_id)
        states = self._metadata.models.state_history(name, version)
        aliases = [
            change
            for change in self._metadata.models.alias_history(name)
            if version in (change.version, change.previous)
        ]
        return {
            "model": name,
            "version": version,
            "digest": found.digest,
            "state": str(found.state),
            "training_set": found.training_set,
            "table_versions": found.tables,
            "bundle": found.bundle,
            "code": self._code(found),
            "parameters": found.parameters,
            "metrics": found.metrics,
            "run": None if run is None else run.model_dump(mode="json", include={"id", "pipeline", "reason", "steps"}),
            "contexts": [] if run is None else self._contexts(run.id),
            "states": [change.model_dump(mode="json", exclude={"name", "version"}) for change in states],
            "aliases": [change.model_dump(mode="json", exclude={"name"}) for change in aliases],
            "mlflow": found.mlflow_uri,
        }

    def of_request(self, request_id: str, model: str | None = None) -> dict[str, Any]:
        """Everything behind the answer to one request, as JSON values.

        Args:
            request_id: The ``id`` that the answer carried.
            model: Which model was asked; left out, all prediction logs are looked through.

        Returns:
            ``request`` (the logged rows), ``model``, ``answered_by`` (the lineage of the version that answered) and
            ``promotion``: the serving plan of that moment, the change of alias that put the version there, who decided
            it, why, and on what evidence.

        Raises:
            NotFoundError: No logged prediction has this id; they are logged some seconds after they are answered.
        """
        name, events = self._find(request_id, model)
        answers = [event for event in events if event["role"] != "shadow"] or events
        answer = answers[-1]
        return {
            "model": name,
            "request": {"id": request_id, "rows": [{fact: event.get(fact) for fact in _FACTS} for event in events]},
            "answered_by": self.of_version(name, answer["version"]),
            "promotion": self._promotion(name, answer["version"], answer["role"], answer["served_at"]),
        }

    def trained_on(self, table: str, version: int | None = None) -> list[ModelVersion]:
        """Versions of any model that were trained on a table, at one version of it or at any."""
        return self._metadata.models.trained_on(table, version)

    def _contexts(self, run_id: str) -> list[dict[str, str]]:
        found = self._metadata.contexts.list_contexts(run_id=run_id)
        return [{"kind": context.kind, "name": context.name} for context in found]

    def _code(self, version: ModelVersion) -> dict[str, Any] | None:
        if version.bundle is None:
            return None
        try:
            bundle = self._metadata.deployments.get_bundle(version.bundle)
        except NotFoundError:
            return None
        known = bundle.model_dump(mode="json", include={"digest", "archive_sha256", "lock_sha256", "tests", "built_at"})
        return {**known, "project": bundle.project.name}

    def _find(self, request_id: str, model: str | None) -> tuple[str, list[dict[str, Any]]]:
        for name in [model] if model is not None else list(self._metadata.plans.plan_numbers()):
            found: list[dict[str, Any]] = []
            for batch in self._log.batches(f"predictions/{name}", None, None, "served_at"):
                found += batch.filter(pc.equal(batch["request_id"], request_id)).to_pylist()
            if found:
                return name, sorted(found, key=lambda event: (event["served_at"], event["row"]))
        where = "any model" if model is None else f"model {model!r}"
        raise NotFoundError(
            f"no logged prediction of {where} has request id {request_id!r}: predictions are logged some seconds after "
            "they are answered, and removed with their retention",
            request_id=request_id,
        )

    def _promotion(self, name: str, version: int, role: str, served_at: datetime) -> dict[str, Any]:
        plan = _plan_at(self._metadata.plans.list_plans(name), version, served_at)
        changes = self._metadata.models.alias_history(name)
        change = _last_change(changes, _ALIASES.get(role), version, served_at)
        number = change.evidence.get("plan") if change is not None else None
        wanted = number if isinstance(number, int) else None if plan is None else plan.number
        entry = None if wanted is None else _decision(self._metadata.ledger.entries(name), wanted)
        return {
            "role": role,
            "plan": None if plan is None else plan.model_dump(mode="json"),
            "alias": None if change is None else change.model_dump(mode="json"),
            "by": None if entry is None else _who(entry),
            "reason": entry.reason if entry is not None else None if change is None else change.reason,
            "ledger": None if entry is None else entry.model_dump(mode="json"),
        }


def _plan_at(plans: list[ServingPlan], version: int, at: datetime) -> ServingPlan | None:
    """The last plan until then that names the version."""
    named = [plan for plan in plans if plan.created_at <= at and version in _versions(plan)]
    return named[-1] if named else None


def _versions(plan: ServingPlan) -> set[int | None]:
    return {plan.champion, plan.backup, None if plan.trial is None else plan.trial.version}


def _last_change(changes: list[AliasChange], alias: str | None, version: int, at: datetime) -> AliasChange | None:
    # aliases follow the swap: an answer may be a moment older than the change that tells of it
    own = [change for change in changes if change.alias == alias and change.version == version]
    before = [change for change in own if change.at <= at]
    return before[-1] if before else own[0] if own else None


def _decision(entries: list[LedgerEntry], plan: int) -> LedgerEntry | None:
    """The entry that a plan came of: a user's names the plan, the controller's the plan before it.

    What a user did in the meantime, or what the controller gave up, took the place of what had been decided.
    """
    abandoned = {entry.evidence.get("decision") for entry in entries if entry.action == "abandon"}
    about = [entry for entry in entries if entry.action in _PLAN_ACTIONS and entry.key not in abandoned]
    by_user = [entry for entry in about if entry.evidence.get("number") == plan]
    decided = [entry for entry in about if entry.evidence.get("plan") == plan - 1]
    return next(iter([*by_user, *decided]), None)


def _who(entry: LedgerEntry) -> str:
    if entry.key.startswith("user/"):
        return str(entry.evidence.get("by") or "a user")
    return "controller"
