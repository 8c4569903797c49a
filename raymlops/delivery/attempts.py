"""Deployments on their way: each is in the ledger before it changes anything, and how it ended after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from raymlops.records.bundles import ServedBefore
from raymlops.records.ledger import Ledger
from raymlops.records.record import Record
from raymlops.records.serving.orders import Order

__all__ = ["ATTEMPTS", "Attempt", "Attempts", "Switch"]

ATTEMPTS = "platform:deployments"
"""Subject of the entries; no model can have a name with a colon."""
_BEGIN, _SWITCH, _END = "begin_deployment", "switch_deployment", "end_deployment"


class Switch(Record):
    """The service that a deployment starts."""

    version: int
    service: str | None = None
    """Feature service whose features are joined."""
    replicas: int | None = None
    """Number of replicas; ``None``: as configured."""
    replaced: ServedBefore | None = None
    """The service before; ``None`` where there was none."""
    plan: int = 0
    """Number of the newest plan that this was decided by; 0 for none."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """Facts by which the version was judged."""


class Attempt(Record):
    """A deployment, a roll-back or the end of an environment, from when it begins until its end is known."""

    id: str
    kind: Literal["deploy", "roll_back", "end_environment"]
    environment: str
    by: str
    reason: str = ""
    bundle: str = ""
    model: str | None = None
    """The model's name in the environment; ``None`` where the served version stays."""
    added: tuple[str, ...] = ()
    """Definitions that it adds, as an ``ApplyReport`` names them."""
    changed: bool = False
    """Whether it changes definitions in place."""
    tables: tuple[str, ...] = ()
    """Feature tables that go with an environment."""
    switch: Switch | None = None
    """``None`` as long as that is not decided."""

    @property
    def order(self) -> Order:
        """By which the model is put in service: given twice, it counts once."""
        expected = None if self.switch is None else self.switch.plan
        why = f"bundle {self.bundle[:12]}: {self.reason}" if self.kind == "deploy" else self.reason
        return Order(request=self.id, by=self.by, reason=why, expected_plan=expected)

    @property
    def rehearsal_order(self) -> Order:
        """By which the model is served under the name of a rehearsal."""
        return Order(request=f"{self.id}-rehearsal", by=self.by, reason="asked before it is put in service")


class Attempts:
    """Deployments on their way, all of them in the ledger.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def begin(self, attempt: Attempt) -> Attempt:
        """Record a deployment before it changes anything."""
        told = f"{attempt.kind.replace('_', ' ')} in {attempt.environment}: {attempt.reason or 'no reason given'}"
        self._append(_BEGIN, attempt, told, attempt.model_dump(mode="json"))
        return attempt

    def decide(self, attempt: Attempt, switch: Switch) -> Attempt:
        """Record what a deployment is about to put in service."""
        self._append(_SWITCH, attempt, f"version {switch.version} is put in service", switch.model_dump(mode="json"))
        return attempt.model_copy(update={"switch": switch})

    def end(self, attempt: Attempt, outcome: Literal["done", "undone"], reason: str) -> None:
        """Record how a deployment ended."""
        facts = {"environment": attempt.environment, "bundle": attempt.bundle, "outcome": outcome}
        self._append(_END, attempt, reason, facts)

    def open(self, environment: str | None = None) -> list[Attempt]:
        """Those whose end is not recorded, of one environment or all, oldest first."""
        found: dict[str, Attempt] = {}
        for entry in self._ledger.entries(ATTEMPTS):
            name = entry.key.rpartition("/")[2]
            if entry.action == _BEGIN:
                found[name] = Attempt.model_validate(entry.evidence)
            elif entry.action == _SWITCH and name in found:
                switch = Switch.model_validate(entry.evidence)
                found[name] = found[name].model_copy(update={"switch": switch})
            elif entry.action == _END:
                found.pop(name, None)
        return [each for each in found.values() if environment in {None, each.environment}]

    def _append(self, action: str, attempt: Attempt, reason: str, facts: Mapping[str, object]) -> None:
        self._ledger.append_entry(ATTEMPTS, action, reason, facts, key=f"{action}/{attempt.id}")
