from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import ConfigError
from raymlops.pipelines import Pipeline, Step


def _function(context: object, **_: Any) -> dict[str, Any]:
    return {"x": 1}


def _step(name: str, *needs: str, **fields: Any) -> Step:
    return Step(name, _function, {"x": "json"}, {f"from_{need}": f"{need}.x" for need in needs}, **fields)


@st.composite
def _graphs(draw: st.DrawFn) -> list[Step]:
    names = [f"s{place}" for place in range(draw(st.integers(1, 8)))]
    steps = [
        _step(name, *draw(st.sets(st.sampled_from(names[:place])) if place else st.just(())))
        for place, name in enumerate(names)
    ]
    return draw(st.permutations(steps))


@given(_graphs())
def test_every_step_comes_after_what_it_needs_and_once(steps: list[Step]) -> None:
    pipeline = Pipeline("p", steps, "s0.x")
    order = [step.name for step in pipeline.order]
    assert sorted(order) == sorted(step.name for step in steps)
    for step in steps:
        for source in step.inputs.values():
            assert order.index(source.partition(".")[0]) < order.index(step.name)


def test_steps_run_as_declared_where_that_leaves_a_choice() -> None:
    pipeline = Pipeline("p", [_step("c"), _step("a"), _step("b", "d"), _step("d")], "b.x")
    assert [step.name for step in pipeline.order] == ["c", "a", "d", "b"]


def test_parameters_are_those_of_all_steps() -> None:
    pipeline = Pipeline("p", [_step("a", parameters=("seed",)), _step("b", parameters=("seed", "rows"))], "a.x")
    assert pipeline.parameters == {"seed", "rows"}


@pytest.mark.parametrize(
    ("steps", "result", "rule"),
    [
        ([_step("a"), _step("a")], "a.x", "two steps named 'a'"),
        ([_step("a", "b")], "a.x", "no step gives 'b.x'"),
        ([_step("a", "b"), _step("b", "a")], "a.x", "cycle: "),
        ([_step("a", "a")], "a.x", "cycle: a -> a"),
        ([_step("a")], "a.y", "must be a json output, got 'a.y'"),
        ([Step("a", _function, {"x": "arrow"})], "a.x", "must be a json output"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(steps: list[Step], result: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        Pipeline("p", steps, result)
