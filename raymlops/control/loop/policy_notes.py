"""Entries of the ledger about policies of models: which policy was in force, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import ValidationError

from raymlops.config.control import ControlConfig, PolicyConfig
from raymlops.config.reading.draft import DEFAULTS
from raymlops.config.reading.policy import PLATFORM
from raymlops.control.loop.ports import Policies
from raymlops.control.triggering.model_policies import ModelPolicy
from raymlops.records.ledger import Ledger, LedgerEntry

__all__ = ["POLICY_ACTION", "PoliciesInForce", "note_policy", "policy_at"]

POLICY_ACTION = "policy"
_SHOWN = 5


class PoliciesInForce:
    """Which policy the loop decides by, for each model.

    Args:
        config: The loop's configuration, which holds for models without a policy of their own.
        policies: Tells the policy of each model; ``None``: no model has one.
        ledger: Says which was in force, and since when.
    """

    def __init__(self, config: ControlConfig, policies: Policies | None, ledger: Ledger) -> None:
        self._config = config
        self._policies = policies
        self._ledger = ledger

    def refresh(self) -> None:
        """Read what is in force now."""
        if self._policies is not None:
            self._policies.refresh()

    def config_of(self, model: str) -> ControlConfig:
        """The loop's configuration with the policy of a model."""
        return self._config if self._policies is None else self._policies.of(model).config

    def note(self, model: str, before: LedgerEntry | None) -> None:
        """Have the ledger say which policy is in force before anything is decided by it; ``before`` as below."""
        if self._policies is not None:
            note_policy(self._policies.of(model), before, self._ledger)

    def config_at(self, model: str, entries: Iterable[LedgerEntry], at: datetime | None) -> ControlConfig:
        """The configuration at an instant, or now; ``entries`` are those of the model."""
        now = self.config_of(model)
        return now if at is None else policy_at(entries, at, platform=self._config, now=now)


def note_policy(policy: ModelPolicy, before: LedgerEntry | None, ledger: Ledger) -> LedgerEntry | None:
    """Record that a policy is in force, where the ledger says something else.

    Args:
        policy: In force now.
        before: The model's newest entry about its policy; without one the platform's was in force.
        ledger: The policies are recorded in it.

    Returns:
        The new entry; ``None`` where there is nothing to record.
    """
    own = {name: by for name, by in policy.sources.items() if by not in {DEFAULTS, PLATFORM}}
    if before is None and not own and not policy.problem:
        return None
    if before is not None and before.evidence.get("digest") == policy.digest:
        return None
    said = [f"{each.name} {each.value}" for each in policy.settings if each.name in own]
    more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    reason = f"the project says {', '.join(said[:_SHOWN])}{more}" if said else "the platform's policy is in force"
    evidence = {
        "bundle": policy.bundle,
        "environment": policy.environment,
        "digest": policy.digest,
        "policy": policy.sections,
        "sources": own,
        "problem": policy.problem,
    }
    # The number tells a return to an earlier policy from a repeat after a crash.
    key = f"{POLICY_ACTION}/{policy.model}/{policy.digest}/after/{0 if before is None else before.sequence}"
    return ledger.append_entry(policy.model, POLICY_ACTION, policy.problem or reason, evidence, key=key)


def policy_at(
    entries: Iterable[LedgerEntry], at: datetime, *, platform: ControlConfig, now: ControlConfig
) -> ControlConfig:
    """The configuration with the policy that was in force at an instant.

    Args:
        entries: Of one model, in order.
        at: The instant.
        platform: The platform's configuration, which holds where nothing was recorded up to then.
        now: What is in force now; it is taken where nothing was ever recorded, and in place of a policy that this
            release cannot read.
    """
    notes = [entry for entry in entries if entry.action == POLICY_ACTION]
    if not notes:
        return now
    known = [entry for entry in notes if entry.at <= at]
    if not known:
        return platform
    try:
        policy = PolicyConfig.model_validate(known[-1].evidence["policy"])
    except ValidationError:
        return now
    return now.model_copy(update=dict(policy))
