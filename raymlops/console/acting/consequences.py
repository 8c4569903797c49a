"""Consequences of an action, in words: the versions that would serve, and the losses."""

from __future__ import annotations

from typing import NamedTuple

from raymlops.records.plans import ServingPlan, Trial

__all__ = ["Change", "changes_between", "lost_by", "roles_of"]


class Change(NamedTuple):
    """One line of a comparison of two plans."""

    what: str
    now: str
    then: str

    @property
    def differs(self) -> bool:
        """Whether the line changes."""
        return self.now != self.then


def changes_between(before: ServingPlan | None, after: ServingPlan) -> list[Change]:
    """The present plan beside the next, line by line."""
    rows = [("plan", _number(before), _number(after))]
    rows += [(what, now, then) for (what, now), (_, then) in zip(_lines(before), _lines(after), strict=True)]
    return [Change(*row) for row in rows]


def roles_of(plan: ServingPlan) -> list[str]:
    """The versions that answer under a plan, one sentence for each."""
    if not plan.served:
        return ["Nobody answers: callers of the model get 404."]
    told = [f"v{plan.champion} answers as champion{_share(plan.trial)}."]
    if plan.champion in plan.blocked:
        backup = plan.backup if plan.backup not in plan.blocked else None
        stands_in = "the declared baseline, or an error" if backup is None else f"v{backup}, the backup,"
        told = [f"v{plan.champion} is champion and blocked: {stands_in} answers for it."]
    if plan.trial is not None:
        told.append(f"{_trial(plan.trial)}; v{plan.champion} answers where it fails or is late.")
    if plan.backup is not None:
        told.append(f"v{plan.backup} is loaded beside it as backup, and answers where v{plan.champion} cannot.")
    elif plan.baseline is None:
        told.append("There is no backup and no baseline: where the champion cannot answer, callers get an error.")
    return told


def lost_by(action: str, before: ServingPlan | None, after: ServingPlan | None) -> list[str]:
    """Losses that an action causes, one sentence for each; empty where there are none."""
    if before is None or after is None:
        return _LOST_WITHOUT_PLAN.get(action, [])
    if before == after:
        return ["Nothing: the present plan says so already."]
    lost = []
    if before.trial is not None and after.trial is None:
        if before.trial.version == after.champion:
            lost.append(f"The trial of v{before.trial.version} ends before its guards have decided.")
        else:
            lost.append(f"The trial of v{before.trial.version} ends; a later trial of it begins from nothing.")
    if not after.served:
        lost.append("Predictions, labels and windows of this model stop until it is deployed again.")
    dropped = before.backup
    if dropped is not None and dropped not in after.versions and after.served:
        lost.append(f"v{dropped} is no longer loaded: a roll-back to it takes as long as a deployment.")
    if before.served and after.served and before.champion not in after.versions:
        lost.append(f"v{before.champion}, the champion until now, is no longer loaded and is no backup.")
    for version in sorted(set(after.blocked) - set(before.blocked)):
        lost.append(f"v{version} answers nobody, not even as backup, until somebody unblocks it.")
    for version in sorted(set(before.blocked) - set(after.blocked)):
        lost.append(f"The protection of the block: v{version} answers again wherever the plan names it.")
    return lost


_LOST_WITHOUT_PLAN = {
    "pause": [
        "A model that decays is not retrained, and a trial is neither promoted nor rolled back, until you resume.",
        "Faults of the champion are still answered by the backup: breakers are the endpoint's own.",
    ],
    "resume": ["Nothing. What was put off may be decided at the next turn."],
    "retrain": ["The time and the CPUs of a run. The champion serves on meanwhile."],
    "approve": ["Nothing is deployed by it; an approval cannot be taken back."],
}


def _number(plan: ServingPlan | None) -> str:
    return "none" if plan is None else str(plan.number)


def _lines(plan: ServingPlan | None) -> list[tuple[str, str]]:
    if plan is None or not plan.served:
        champion, trial, backup, replicas = "nobody", "-", "-", "0"
    else:
        champion, trial = f"v{plan.champion}", "-" if plan.trial is None else _trial(plan.trial)
        backup, replicas = "-" if plan.backup is None else f"v{plan.backup}", str(plan.replicas)
    blocked = () if plan is None else plan.blocked
    return [
        ("champion", champion),
        ("trial", trial),
        ("backup", backup),
        ("blocked", ", ".join(f"v{version}" for version in blocked) or "-"),
        ("replicas", replicas),
        ("features", (None if plan is None or not plan.served else plan.service) or "-"),
    ]


def _trial(trial: Trial) -> str:
    verb = "answers" if trial.mode == "canary" else "sees, unseen by callers,"
    return f"v{trial.version} {verb} {trial.weight:.0%} of the requests"


def _share(trial: Trial | None) -> str:
    return "" if trial is None or trial.mode == "shadow" else f" {1 - trial.weight:.0%} of the requests"
