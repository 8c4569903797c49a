"""``why`` reads what it needs of a ledger, and answers as a fold over the whole of it would."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.clock import ManualClock
from raymlops.control.loop.controller import ALL_MODELS, Controller
from raymlops.control.loop.explaining.why import History, explain
from raymlops.control.loop.folding import FoldedLedger, fold_entries
from raymlops.control.loop.policy_notes import policy_at
from raymlops.control.rollout.decisions import (
    Abandon,
    Block,
    Decision,
    FailRun,
    Pause,
    Promote,
    Refuse,
    Resume,
    Skip,
    StartRetraining,
    StartTrial,
)
from raymlops.control.rollout.grown import GrownSet, GrownTuple
from raymlops.control.rollout.ledger_state import Rollout
from raymlops.errors import LedgerBroken
from raymlops.records.ledger import RETRAIN_ORDER, LedgerEntry
from raymlops.records.plans import Trial
from raymlops.testing.control_examples import DAY, START
from tests.support.control import CrashSwitch, InMemoryLedger
from tests.support.control_world import ControlWorld

HOUR = timedelta(hours=1)
KINDS = ("retrain", "block", "skip", "refuse", "run_failed", "trial", "promote", "abandon", "order", "note", "policy")
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, "pause", "resume"]),
        st.sampled_from(["m", "m", "m", "other", ALL_MODELS]),
        st.integers(0, 3),
        st.integers(-2, 4),
    ),
    max_size=40,
)


class SettableClock(ManualClock):
    """A clock that can be set back."""

    def set(self, at: datetime) -> None:
        self._now = at


class Watched(InMemoryLedger):
    """A ledger that counts the entries that it gives away."""

    given = 0

    def entries(self, subject: str | None = None, after: int = 0) -> list[LedgerEntry]:
        return self._told(super().entries(subject, after))

    def newest_entries(
        self, subjects: Sequence[str], limit: int, *, until: datetime | None = None
    ) -> list[LedgerEntry]:
        return self._told(super().newest_entries(subjects, limit, until=until))

    def _told(self, found: list[LedgerEntry]) -> list[LedgerEntry]:
        self.given += len(found)
        return found


def decision(kind: str, model: str, number: int, which: int, at: datetime, before: Decision | None) -> Decision:
    common = {"model": model, "at": at, "reason": f"entry {number}"}
    run_id = f"{model}-run-{which}"
    match kind:
        case "retrain":
            orders = (which + 1,)
            names = {"occasion": f"o{number}", "champion": 1, "triggers": ("drift",), "orders": orders}
            return StartRetraining(run_id=run_id, **common, **names)
        case "block":
            return Block(occasion=f"o{which}", **common)
        case "skip":
            return Skip(occasion=f"s{number}", orders=(which,), **common)
        case "refuse":
            return Refuse(run_id=run_id, rejection=which != 1, **common)
        case "run_failed":
            return FailRun(run_id=run_id, final=which > 1, **common)
        case "trial":
            return StartTrial(plan=number, version=which + 2, trial=Trial(version=which + 2), run_id=run_id, **common)
        case "promote":
            return Promote(plan=number, version=which + 2, previous=1, **common)
        case "abandon":
            key = "control/m/none/0" if before is None else before.key
            return Abandon(decision=key, superseded=which > 1, final=which != 3, **common)
        case "resume":
            return Resume(count=number, **common)
    return Pause(count=number, **common)


def fill(ledger: InMemoryLedger, clock: SettableClock, drawn: Sequence[tuple[str, str, int, int]]) -> None:
    """Append what was drawn: kind, subject, a number that names what it is about, and hours that pass before."""
    before: dict[str, Decision] = {}
    for number, (kind, subject, which, hours) in enumerate(drawn):
        clock.set(clock.now() + hours * HOUR)
        if kind in ("note", "policy", "order"):
            action = RETRAIN_ORDER if kind == "order" else kind
            policy = {"retrain": {"budget_runs": which + 1}}
            ledger.append_entry(subject, action, "", {"by": "ann", "policy": policy}, key=str(number))
            continue
        wanted = decision(kind, subject, number, which, clock.now(), before.get(subject))
        before[subject] = wanted
        ledger.append_entry(subject, wanted.action, wanted.reason, wanted.evidence(), key=wanted.key)


def whole_fold(entries: Sequence[LedgerEntry], at: datetime) -> Rollout:
    return fold_entries("m", [each for each in entries if each.subject in ("m", ALL_MODELS) and each.at <= at])


@settings(max_examples=60, deadline=None)
@given(drawn=ENTRIES, later=ENTRIES)
def test_the_state_at_an_instant_is_the_fold_of_all_entries_up_to_it(
    drawn: list[tuple[str, str, int, int]], later: list[tuple[str, str, int, int]]
) -> None:
    clock = SettableClock(START)
    ledger = InMemoryLedger(clock, CrashSwitch())
    folded = FoldedLedger(ledger)
    for part in (drawn, later):
        fill(ledger, clock, [(kind, subject, which, hours) for kind, subject, which, hours in part])
        folded.catch_up()
    entries = ledger.entries()
    for hours in range(-5, 20):
        at = START + hours * HOUR
        assert folded.state_at("m", at) == whole_fold(entries, at), hours
    latest = max([entry.at for entry in entries], default=START)
    assert folded.state("m") == folded.state_at("m", latest) == whole_fold(entries, latest)


@settings(max_examples=25, deadline=None)
@given(drawn=ENTRIES, back=st.booleans())
def test_why_is_what_the_whole_ledger_and_all_windows_say(drawn: list[tuple[str, str, int, int]], back: bool) -> None:
    world = ControlWorld()
    clock = SettableClock(START)
    ledger = InMemoryLedger(clock, CrashSwitch())
    for drifted in (False, True, True):
        world.close_window(drifted=drifted)
    fill(
        ledger, clock, [(kind, subject, which, hours if back else abs(hours)) for kind, subject, which, hours in drawn]
    )
    clock.set(START + 4 * DAY)

    controller = Controller(
        clock=clock, ledger=ledger, observer=world.observer, actuator=world.actuator, config=world.config
    )
    for instant in (None, *(START + hours * HOUR for hours in (0, 7, 30, 50))):
        at = instant or clock.now()
        about = [each for each in ledger.entries() if each.subject in ("m", ALL_MODELS) and each.at <= at]
        own = ledger.entries("m")
        everything = History(
            plans=tuple(world.observer.plans("m")),
            runs=tuple(world.observer.runs("m")),
            windows=tuple(world.observer.windows_of["m"]),
            trainable=world.observer.trainable("m"),
        )
        expected = explain(
            "m",
            everything,
            at,
            world.config if instant is None else policy_at(own, at, platform=world.config, now=world.config),
            state=whole_fold(about, at),
            decisions=sorted(about, key=lambda each: (each.at, each.sequence))[-10:],
            label_delay=timedelta(),
        )
        assert controller.why("m", instant) == expected


@pytest.mark.parametrize("past", [False, True])
def test_a_long_ledger_costs_no_more_than_a_short_one(past: bool) -> None:
    world = ControlWorld()
    world.close_window(drifted=True)
    ledger = Watched(world.clock, CrashSwitch())
    controller = Controller(
        clock=world.clock,
        ledger=ledger,
        observer=world.observer,
        actuator=world.actuator,
        config=world.config,
    )
    costs, number = [], 0
    for total in (100, 1000):
        while number < total:
            number += 1
            wanted = Block(model="m", at=START, reason="", occasion=f"o{number}")
            ledger.append_entry("m", "block", "", wanted.evidence(), key=wanted.key)
        controller.why("m")  # whoever asks first reads what is new, as a turn does
        ledger.given = 0
        found = controller.why("m", START + DAY if past else None)
        assert [entry.sequence for entry in found.decisions] == list(range(total - 9, total + 1))
        costs.append(ledger.given)
    assert costs == [10, 10]


def test_an_entry_that_cannot_be_read_is_no_trouble_of_what_was_before_it() -> None:
    clock = SettableClock(START)
    ledger = InMemoryLedger(clock, CrashSwitch())
    fill(ledger, clock, [("block", "m", 1, 0)])
    clock.set(START + HOUR)
    ledger.append_entry("m", "unheard_of", "", key="control/m/unheard_of/1")
    folded = FoldedLedger(ledger)
    folded.catch_up()
    assert folded.state_at("m", START).blocked == {"o1"}
    with pytest.raises(LedgerBroken, match="entry 2: LedgerBroken"):
        folded.state_at("m", START + HOUR)


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=30))
def test_what_grew_from_another_leaves_it_as_it_was(steps: list[tuple[int, int]]) -> None:
    tuples, sets = [(GrownTuple[int](), ())], [(GrownSet[int](), frozenset[int]())]
    for base, element in steps:  # any earlier one may grow, so that they branch
        grown, plain = tuples[base % len(tuples)]
        tuples.append((grown.plus(element), (*plain, element)))
        one, other = sets[base % len(sets)]
        sets.append((one.plus(element), other | {element}))
    for grown, plain in tuples:
        assert grown == plain
        assert (len(grown), grown[1:], list(reversed(grown))) == (len(plain), plain[1:], [*reversed(plain)])
        if plain:
            assert (grown[0], grown[-1]) == (plain[0], plain[-1])
    for one, other in sets:
        assert one == other
        assert [element in one for element in range(6)] == [element in other for element in range(6)]
