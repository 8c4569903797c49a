"""Records that a change of a serving plan leaves in the metadata store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from raymlops.errors import DeploymentNotFound, InvalidTransition
from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.models import ModelRegistry, ModelState
from raymlops.records.plans import PlanStore, ServingPlan
from raymlops.records.serving.orders import Order

__all__ = [
    "PlanRecords",
    "completed",
    "intent_of",
    "preview_plan",
    "record_swap",
    "require_served",
    "require_unblocked",
    "settle",
    "withdraw_order",
    "write_down",
]


class PlanRecords(Protocol):
    """The stores that endpoints are operated by."""

    models: ModelRegistry
    plans: PlanStore
    ledger: Ledger


def intent_of(entry: LedgerEntry) -> ServingPlan | None:
    """The plan that an entry asks for; ``None`` where it asks for none, or says too little of it."""
    fields = {name: entry.evidence[name] for name in ServingPlan.model_fields if name in entry.evidence}
    if not {"model", "number", "champion", "created_at"} <= set(fields):
        return None
    return ServingPlan.model_validate({**fields, "reason": entry.reason})


def write_down(metadata: PlanRecords, plan: ServingPlan, order: Order, action: str) -> LedgerEntry:
    """Record the order for a plan in the ledger, before the plan is stored."""
    evidence: dict[str, Any] = {**plan.model_dump(mode="json", exclude={"reason"}), "by": order.by}
    asked = plan.champion if plan.trial is None else plan.trial.version
    version = metadata.models.get_version(plan.model, asked)
    evidence["blessings"] = [blessing.model_dump(mode="json") for blessing in version.blessings]
    evidence["registered_by_hand"] = version.run_id is None
    key = order.key(plan.model, action)
    return metadata.ledger.append_entry(plan.model, action, plan.reason, evidence, key=key)


def record_swap(metadata: PlanRecords, plan: ServingPlan, swap_ms: float | None) -> None:
    """Say how long every replica took to follow a plan; ``None``: there was nothing to swap."""
    if swap_ms is not None:
        metadata.ledger.append_entry(
            plan.model,
            "swap",
            f"plan {plan.number} is served by every replica",
            {"plan": plan.number, "champion": plan.champion, "swap_ms": swap_ms},
            key=f"swap/{plan.model}/{plan.number}",
        )


def withdraw_order(metadata: PlanRecords, order: Order, model: str) -> bool:
    """Take the place of an order to deploy in the ledger, so that it changes nothing where it comes late.

    Returns:
        Whether the order was there before, and its plan was not taken back.
    """
    key, facts = order.key(model, "deploy"), {"by": order.by, "request": order.request}
    first = metadata.ledger.append_entry(model, "withdraw_order", order.reason, facts, key=key)
    taken_back = order.key(model, "take_back")
    return intent_of(first) is not None and all(each.key != taken_back for each in metadata.ledger.entries(model))


def settle(metadata: PlanRecords, plan: ServingPlan) -> None:
    """Let aliases and version states follow a plan, whatever they were before."""
    model = plan.model
    why: dict[str, Any] = {"reason": plan.reason, "evidence": {"plan": plan.number}}
    aliases = metadata.models.aliases(model)
    champion = plan.champion if plan.served else None
    for alias, version in (("champion", champion), ("backup", plan.backup)):
        if aliases.get(alias) != version:
            metadata.models.set_alias(model, alias, version, expected=aliases.get(alias), **why)
    if champion is not None:
        metadata.models.set_state(model, champion, ModelState.PRODUCTION, **why)
    if plan.trial is not None:
        metadata.models.set_state(model, plan.trial.version, ModelState.STAGING, **why)
    in_service = {ModelState.STAGING, ModelState.PRODUCTION}
    for known in metadata.models.list_versions(model):
        if known.version not in plan.versions and known.state in in_service:
            metadata.models.set_state(model, known.version, ModelState.ARCHIVED, **why)


def require_served(name: str, plan: ServingPlan | None) -> ServingPlan:
    """The newest plan of a model; raises ``DeploymentNotFound`` where the model is not served."""
    if plan is None or not plan.served:
        raise DeploymentNotFound.of(name)
    return plan


def require_unblocked(plan: ServingPlan, version: int) -> None:
    """Raises ``InvalidTransition`` where a version is blocked."""
    if version in plan.blocked:
        raise InvalidTransition(f"version {version} of {plan.model} is blocked: unblock it first")


def completed(models: ModelRegistry, plan: ServingPlan, before: ServingPlan | None) -> ServingPlan:
    """A plan with the environment of its champion, whose features are those that it was trained on.

    Raises:
        InvalidTransition: A version that is new in the plan is not blessed.
    """
    present = frozenset() if before is None else before.versions
    for version in sorted(plan.versions - present):
        # the store refuses it too; here it is known before a process is started for it
        models.get_version(plan.model, version).require_blessed()
    if not plan.served:
        return plan
    return plan.model_copy(update={"environment": models.get_version(plan.model, plan.champion).environment})


def preview_plan(
    metadata: PlanRecords, order: Order, model: str, make: Callable[[ServingPlan | None], ServingPlan]
) -> ServingPlan:
    """The plan that an order would make, which ``make`` makes of the newest; raises what the order would raise."""
    current = metadata.plans.find_plan(model)
    order.require_expected(model, current)
    return completed(metadata.models, make(current), current)
