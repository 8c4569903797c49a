"""What changes of a serving plan leave in the metadata store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import AliasChange, ModelState, ModelVersion
from raymlops.records.plans import ServingPlan

__all__ = ["PlanRecords", "intent_of", "settle"]


class PlanRecords(Protocol):
    """The part of the metadata store that endpoints are operated by."""

    def get_version(self, name: str, version: int) -> ModelVersion:
        """A version."""
        ...

    def list_versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model."""
        ...

    def find_plan(self, model: str) -> ServingPlan | None:
        """The newest plan, if there is one."""
        ...

    def get_plan(self, model: str) -> ServingPlan:
        """The newest plan."""
        ...

    def put_plan(self, plan: ServingPlan) -> ServingPlan:
        """Commit the next plan."""
        ...

    def plan_numbers(self) -> Mapping[str, int]:
        """Model -> number of its newest plan."""
        ...

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version."""
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
        """Move an alias by compare-and-set."""
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
        """Change a version's state."""
        ...

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, Any], *, key: str
    ) -> LedgerEntry:
        """Append to the ledger."""
        ...

    def entries(self, subject: str | None = None, after: int = 0) -> Sequence[LedgerEntry]:
        """Entries of the ledger."""
        ...


def intent_of(entry: LedgerEntry) -> ServingPlan | None:
    """The plan that an entry asks for; ``None`` where it asks for none, or says too little of it."""
    fields = {name: entry.evidence[name] for name in ServingPlan.model_fields if name in entry.evidence}
    if not {"model", "number", "champion", "created_at"} <= set(fields):
        return None
    return ServingPlan.model_validate({**fields, "reason": entry.reason})


def settle(metadata: PlanRecords, plan: ServingPlan) -> None:
    """Let aliases and version states follow a plan, whatever they were before."""
    model = plan.model
    why: dict[str, Any] = {"reason": plan.reason, "evidence": {"plan": plan.number}}
    aliases = metadata.aliases(model)
    champion = plan.champion if plan.served else None
    for alias, version in (("champion", champion), ("backup", plan.backup)):
        if aliases.get(alias) != version:
            metadata.set_alias(model, alias, version, expected=aliases.get(alias), **why)
    if champion is not None:
        metadata.set_state(model, champion, ModelState.PRODUCTION, **why)
    if plan.trial is not None:
        metadata.set_state(model, plan.trial.version, ModelState.STAGING, **why)
    in_service = {ModelState.STAGING, ModelState.PRODUCTION}
    for known in metadata.list_versions(model):
        if known.version not in plan.versions and known.state in in_service:
            metadata.set_state(model, known.version, ModelState.ARCHIVED, **why)
