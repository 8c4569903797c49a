"""The compare-and-set protocol of registry and plans, against a model of it, over crashes and two processes' views."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raymlops.clock import ManualClock
from raymlops.errors import ModelVersionNotFound, StaleWrite
from raymlops.metadata import MetadataService
from raymlops.records.models import AliasChange
from raymlops.records.plans import ServingPlan
from raymlops.testing.metadata_examples import EPOCH, HOUR, example_draft, example_plan

_versions = st.none() | st.integers(1, 4)
_aliases = st.sampled_from(["champion", "backup"])


class CompareAndSet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="raymlops-cas-"))
        self.clock = ManualClock(EPOCH)
        self.services = [self._open(), self._open()]
        self.keys: list[str] = []
        self.history: list[AliasChange] = []
        self.plans: list[ServingPlan] = []

    def _open(self) -> MetadataService:
        return MetadataService(self.home / "metadata.db", clock=self.clock)

    def _last(self, alias: str) -> AliasChange | None:
        return next((change for change in reversed(self.history) if change.alias == alias), None)

    @rule(who=st.integers(0, 1))
    def restart(self, who: int) -> None:
        # As after SIGKILL: nothing is closed or flushed first.
        abandoned, self.services[who] = self.services[who], self._open()
        abandoned.close()

    @rule()
    def time_passes(self) -> None:
        self.clock.advance_to(self.clock.now() + HOUR)

    @rule(who=st.integers(0, 1), key=st.sampled_from("abcd"))
    def register(self, who: int, key: str) -> None:
        version = self.services[who].models.register_version(example_draft(), key=key)
        if key not in self.keys:
            self.keys.append(key)
        assert version.version == self.keys.index(key) + 1

    @rule(who=st.integers(0, 1), alias=_aliases, version=_versions, expected=_versions)
    def set_alias(self, who: int, alias: str, version: int | None, expected: int | None) -> None:
        last = self._last(alias)
        present = last.version if last else None
        try:
            change = self.services[who].models.set_alias("churn", alias, version, expected=expected, reason="r")
        except ModelVersionNotFound:
            assert version is not None
            assert version > len(self.keys)
        except StaleWrite as error:
            assert present != expected
            assert last is None or (last.version, last.previous) != (version, expected)
            found = error.context["found"]
            assert found == present
        else:
            if change != last:
                assert present == expected
                assert (change.version, change.previous, change.at) == (version, expected, self.clock.now())
                self.history.append(change)

    @precondition(lambda self: self.history)
    @rule(who=st.integers(0, 1), alias=_aliases)
    def repeat_alias(self, who: int, alias: str) -> None:
        last = self._last(alias)
        if last is not None:
            repeated = self.services[who].models.set_alias(
                "churn", alias, last.version, expected=last.previous, reason="x"
            )
            assert repeated == last

    @rule(who=st.integers(0, 1), number=st.integers(0, 6), champion=st.integers(1, 2))
    def put_plan(self, who: int, number: int, champion: int) -> None:
        plan = example_plan(number, champion=champion)
        known = plan in self.plans
        try:
            assert self.services[who].plans.put_plan(plan) == plan
        except StaleWrite:
            assert not known
            assert number != len(self.plans) + 1
        else:
            if not known:
                assert number == len(self.plans) + 1
                self.plans.append(plan)

    @invariant()
    def both_see_what_was_acknowledged(self) -> None:
        expected = {
            change.alias: change.version
            for alias in ("backup", "champion")
            if (change := self._last(alias)) and change.version is not None
        }
        for service in self.services:
            assert service.models.aliases("churn") == expected
            assert service.models.alias_history("churn") == self.history
            assert service.plans.list_plans("churn") == self.plans
            assert [version.version for version in service.models.list_versions("churn")] == [
                number + 1 for number in range(len(self.keys))
            ]
            assert service.models.serving_at("churn", self.clock.now()) == expected.get("champion")

    def teardown(self) -> None:
        for service in self.services:
            service.close()
        shutil.rmtree(self.home)


TestCompareAndSet = CompareAndSet.TestCase
TestCompareAndSet.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
