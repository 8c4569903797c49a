"""Operating curves of trials: what becomes of candidates whose quality is known, by the judge that runs live.

``python -m benchmarks.run trials``. Requests arrive one by one, the candidate gets its share by chance, one request in
ten is never labelled, and the trial is judged after every few requests by ``raymlops.control.judge`` with the defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from raymlops.config.control import TrialConfig
from raymlops.control.rollout.judge import Judgement, Verdict, judge
from raymlops.control.rollout.measuring.evidence import Arm, Counts, Losses, Step, TrialEvidence

__all__ = ["measure"]

_START = datetime(2026, 1, 1, tzinfo=UTC)
_CONFIG = TrialConfig(max_labelled_rows=10**9)
_LABELLED = 0.9
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Case:
    """Candidates of one quality."""

    requests: int = 3000
    """Requests until the trial is over."""
    look_requests: int = 25
    """Requests between two looks."""
    share: float = 0.1
    champion_faults: float = 0.0
    candidate_faults: float = 0.0
    moving: bool = False
    """Whether both fail from 0.2 to 1.8 times as often, by chance, anew after every 200 requests."""
    worse: float = 0.0
    """Candidate's mean loss above the champion's, as a share of it."""
    spread: float = 0.25
    """Standard deviation of the difference of the losses of one row; the champion's mean loss is 0.5."""
    heavy: bool = False
    """Whether the difference has heavy tails: Student's t with three degrees of freedom."""
    unit: float = 1.0
    """What all losses are multiplied by."""


@dataclass(frozen=True)
class _End:
    verdict: Verdict
    why: str
    own_requests: int
    labelled_rows: int


def measure(repeats: int = 1000) -> dict[str, object]:
    """The table of docs/benchmarks.md: shares of ``repeats`` trials each."""
    equal = _Case()
    never_promoted = _CONFIG.model_copy(update={"min_labelled_rows": 10**8})
    settings = {
        "plain": equal,
        "heavy tails": replace(equal, heavy=True),
        "5% faults": replace(equal, champion_faults=0.05, candidate_faults=0.05),
        "5% faults, base rate moving": replace(equal, champion_faults=0.05, candidate_faults=0.05, moving=True),
        "5% faults, moving, losses x 1,000": replace(
            equal, champion_faults=0.05, candidate_faults=0.05, moving=True, unit=1000.0
        ),
        "5% faults, moving, looked at after every 5 requests": replace(
            equal, champion_faults=0.05, candidate_faults=0.05, moving=True, look_requests=5, requests=1500
        ),
    }
    found: dict[str, object] = {}
    for name, case in settings.items():
        ends = _play(case, repeats, never_promoted)
        found[f"equal, rolled back ({name})"] = _share(ends, lambda end: end.verdict is Verdict.ROLL_BACK)
    for before, after in ((0.0, 0.05), (0.01, 0.06), (0.05, 0.10)):
        case = _Case(requests=6000, champion_faults=before, candidate_faults=after)
        ends = _play(case, repeats, never_promoted)
        name = f"faults {before:.0%} to {after:.0%}"
        caught = [end.own_requests for end in ends if end.verdict is Verdict.ROLL_BACK]
        found[f"{name}, found within 300 own requests"] = _share(
            ends, lambda end: end.verdict is Verdict.ROLL_BACK and end.own_requests <= 300
        )
        found[f"{name}, own requests until found, median"] = float(np.median(caught)) if caught else None
    half = _Case(share=0.5)  # so that promotion waits for nothing but labels, which is hardest on the bounds
    for unit in (1.0, 1000.0):
        for spread in (0.17, 0.25, 0.35):
            suffix = f"(spread {spread}, losses x {unit:g})"
            for worse in (0.17, 0.086):
                ends = _play(replace(half, worse=worse, spread=spread, unit=unit), repeats)
                found[f"{worse:.1%} worse, promoted {suffix}"] = _share(
                    ends, lambda end: end.verdict is Verdict.PROMOTE
                )
            ends = _play(replace(half, spread=spread, unit=unit), repeats)
            found[f"equal, promoted within 400 labelled rows {suffix}"] = _share(
                ends, lambda end: end.verdict is Verdict.PROMOTE and end.labelled_rows <= 400
            )
            rows = [end.labelled_rows for end in ends if end.verdict is Verdict.PROMOTE]
            found[f"equal, labelled rows until promoted, median {suffix}"] = float(np.median(rows))
    return found


def _share(ends: list[_End], holds: Callable[[_End], bool]) -> float:
    return sum(map(holds, ends)) / len(ends)


def _play(case: _Case, repeats: int, config: TrialConfig = _CONFIG) -> list[_End]:
    random = np.random.default_rng(11)
    return [_trial(case, random, config) for _ in range(repeats)]


def _trial(case: _Case, random: np.random.Generator, config: TrialConfig) -> _End:
    """One trial, until it is decided or its requests are over."""
    n = case.requests
    own = random.random(n) < case.share
    base = random.uniform(0.2, 1.8, n // 200 + 1).repeat(200)[:n] if case.moving else np.ones(n)
    failed = random.random(n) < base * np.where(own, case.candidate_faults, case.champion_faults)
    labelled = (random.random(n) < _LABELLED) & ~failed
    noise = random.standard_t(3, n) / np.sqrt(3) if case.heavy else random.normal(size=n)
    differences = (0.5 * case.worse + case.spread * noise) * case.unit
    for seen in range(case.look_requests, n + 1, case.look_requests):
        part = slice(0, seen)
        evidence = _evidence(own[part], failed[part], differences[part][labelled[part]], case)
        look_at = _START + timedelta(minutes=seen)
        found: Judgement = judge(evidence, started_at=_START, look_at=look_at, config=config)
        if found.verdict in {Verdict.PROMOTE, Verdict.ROLL_BACK}:
            break
    return _End(found.verdict, found.reason, int(own[:seen].sum()), int(labelled[:seen].sum()))


def _evidence(
    own: npt.NDArray[np.bool_], failed: npt.NDArray[np.bool_], differences: Floats, case: _Case
) -> TrialEvidence:
    candidate = Counts(requests=int(own.sum()), faults=int((failed & own).sum()))
    champion = Counts(requests=int((~own).sum()), faults=int((failed & ~own).sum()))
    return TrialEvidence(
        candidate=Arm(**candidate.model_dump()),
        champion=Arm(**champion.model_dump()),
        steps=(Step(share=case.share, candidate=candidate, champion=champion),),
        paired=Losses.of(differences),
        paired_level=0.5 * case.unit,
    )
