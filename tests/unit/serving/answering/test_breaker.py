from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raymlops.config.serving import BreakerConfig
from raymlops.serving.answering.breaker import Breaker, Breakers, BreakerState
from tests.support.examples import examples

LIMIT, FIRST_S, LONGEST_S = 3, 1.0, 5.0
CONFIG = BreakerConfig.model_validate({"failures": LIMIT, "probe_after": "1s", "probe_after_max": "5s"})


class BreakerMachine(RuleBasedStateMachine):
    """Against a model that remembers everything: the outcomes in a row, and the waits so far."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(CONFIG)
        self.now_s = 0.0
        self.streak: list[bool] = []
        """Outcomes while closed, since it closed."""
        self.closed, self.probing = True, False
        self.due_s = 0.0
        self.doublings = 0

    def opened(self) -> None:
        self.closed, self.probing = False, False
        self.due_s = self.now_s + min(FIRST_S * 2**self.doublings, LONGEST_S)
        self.doublings += 1

    @rule(seconds=st.floats(0, 7))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def answers(self) -> None:
        self.breaker.succeed()
        if self.closed:
            self.streak.append(True)
            if self.streak[-LIMIT:] == [True] * LIMIT:
                self.doublings = 0

    @rule()
    def fails(self) -> None:
        opened = self.breaker.fail("x", self.now_s)
        expected = False
        if self.closed:
            self.streak.append(False)
            expected = self.streak[-LIMIT:] == [False] * LIMIT
            if expected:
                self.opened()
        assert opened == expected

    @rule()
    def trips(self) -> None:
        self.breaker.trip("its files are gone", self.now_s)
        self.opened()

    @rule()
    def is_looked_after(self) -> None:
        begun = self.breaker.begin_probe(self.now_s)
        assert begun == (not self.closed and not self.probing and self.now_s >= self.due_s)
        self.probing |= begun

    @precondition(lambda self: self.probing)
    @rule(problem=st.sampled_from([None, "raised ValueError"]))
    def probe_ends(self, problem: str | None) -> None:
        self.breaker.end_probe(problem, self.now_s)
        if problem is not None:
            self.opened()
        else:
            self.closed, self.probing, self.streak = True, False, []

    @precondition(lambda self: not self.probing)
    @rule()
    def late_probe_ends(self) -> None:
        self.breaker.end_probe(None, self.now_s)

    @invariant()
    def agrees(self) -> None:
        wanted = BreakerState.CLOSED if self.closed else BreakerState.PROBING if self.probing else BreakerState.OPEN
        assert self.breaker.state is wanted
        assert self.breaker.closed == self.closed
        assert (self.breaker.reason is None) == self.closed
        assert self.breaker.due_s == (self.due_s if wanted is BreakerState.OPEN else None)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)


def test_failures_must_come_in_a_row() -> None:
    breaker = Breaker(CONFIG)
    for _ in range(10):
        assert not breaker.fail("x", 0.0)
        assert not breaker.fail("x", 0.0)
        breaker.succeed()
    assert breaker.closed


def test_the_board_knows_what_is_due_and_forgets_who_left() -> None:
    now, opened = [0.0], []
    breakers = Breakers(CONFIG, lambda: now[0])
    breakers.on_open = lambda: opened.append(now[0])
    assert (breakers.wait_s(), breakers.begin_probes(), breakers.states()) == (None, [], {})
    breakers.trip(2, "its files are gone")
    now[0] = 0.5
    for _ in range(LIMIT):
        breakers.fail(1, "ValueError: x")
    assert breakers.of(3).closed
    assert breakers.states() == {1: "open", 2: "open", 3: "closed"}
    assert opened == [0.0, 0.5]
    assert breakers.wait_s() == 0.5
    now[0] = 1.2
    assert breakers.begin_probes() == [2]
    assert breakers.begin_probes() == []
    assert breakers.wait_s() == 1.5 - 1.2
    now[0] = 9.0
    assert breakers.wait_s() == 0.0
    breakers.keep([2, 3])
    assert breakers.states() == {2: "probing", 3: "closed"}
    breakers.end_probe(1, None)
    breakers.end_probe(2, "raised ValueError: x")
    assert breakers.states() == {2: "open", 3: "closed"}
    assert breakers.of(2).reason == "probe failed: raised ValueError: x"
    now[0] = 99.0
    assert breakers.begin_probes() == [2]
    breakers.end_probe(2, None)
    assert breakers.states() == {2: "closed", 3: "closed"}
    assert breakers.of(2).reason is None
