from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from raymlops.errors import ModelLoadFailed, ModelVersionNotFound, UnavailableError
from raymlops.records.plans import ServingPlan
from raymlops.serving.plans.slot import PlanFollower

pytestmark = pytest.mark.asyncio


class Store:
    """Plans in memory; counts who asks, and is away when told to."""

    def __init__(self) -> None:
        self.plan: ServingPlan | None = None
        self.error: Exception | None = None
        self.asked = 0

    def get_plan(self, model: str) -> ServingPlan:
        self.asked += 1
        if self.error is not None:
            raise self.error
        assert self.plan is not None
        return self.plan


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def follower(service: Any, store: Store) -> PlanFollower:
    """Of an endpoint that serves plan 1."""
    return PlanFollower(service.endpoint.slot, store, every_s=0.01)


async def test_who_missed_a_broadcast_has_the_plan_after_one_more_poll(
    service: Any, store: Store, follower: PlanFollower, helpers: Any
) -> None:
    """Two polls, one of which may have begun before: with a poll each second, stale for 2 s at most."""
    store.plan = helpers.make_plan(1)
    follower.start()
    await until(lambda: store.asked >= 2)
    store.plan, asked = helpers.make_plan(2, 2), store.asked
    await until(lambda: service.endpoint.number == 2)
    assert store.asked <= asked + 2
    await follower.stop()
    await follower.stop()


async def test_who_starts_late_begins_with_the_newest(
    make_service: Callable[..., Any], store: Store, helpers: Any
) -> None:
    late = make_service()
    store.plan = helpers.make_plan(7, 2)
    await PlanFollower(late.endpoint.slot, store, every_s=3600).refresh()
    assert late.endpoint.number == 7


@pytest.mark.parametrize("error", [UnavailableError("the metadata actor restarts"), KeyError("a bug")])
async def test_nothing_ends_the_polling(
    service: Any, store: Store, follower: PlanFollower, helpers: Any, error: Exception
) -> None:
    store.error, store.plan = error, helpers.make_plan(2, 2)
    follower.start()
    await until(lambda: store.asked >= 3)
    assert service.endpoint.number == 1
    store.error = None
    await until(lambda: service.endpoint.number == 2)
    await follower.stop()


async def test_a_prepared_plan_is_swapped_without_the_store(
    service: Any, store: Store, follower: PlanFollower, helpers: Any
) -> None:
    assert await follower.prepare(helpers.make_plan(2, 2)) == 2
    assert service.endpoint.number == 1
    assert await follower.swap(2) == 2
    assert store.asked == 0
    assert await follower.swap(2) == 2
    assert store.asked == 0


async def test_who_was_not_prepared_takes_the_plan_from_the_store(
    store: Store, follower: PlanFollower, helpers: Any
) -> None:
    store.plan = helpers.make_plan(3, 2)
    assert await follower.swap(3) == 3
    assert store.asked == 1


async def test_a_plan_that_cannot_be_loaded_is_refused_and_let_rest(
    service: Any, store: Store, follower: PlanFollower, helpers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []
    load = service.endpoint.slot.load

    def count(plan: ServingPlan) -> Any:
        loads.append(plan.number)
        if plan.number == 2:
            raise ModelLoadFailed("model.ubj is truncated")
        return load(plan)

    monkeypatch.setattr(service.endpoint.slot, "load", count)
    store.plan = helpers.make_plan(2, 2)
    failed = []
    for turn in range(12):
        try:
            await follower.refresh()
        except ModelLoadFailed:
            failed.append(turn)
    assert failed == [0, 2, 6]  # rests for 1, 3, 7 polls
    assert service.endpoint.number == 1
    store.plan = helpers.make_plan(3, 2)
    await follower.refresh()  # a newer plan is not let wait
    assert (service.endpoint.number, loads) == (3, [2, 2, 2, 3])


async def test_an_unknown_version_refuses_the_preparation(service: Any, follower: PlanFollower, helpers: Any) -> None:
    with pytest.raises(ModelVersionNotFound):
        await follower.prepare(helpers.make_plan(2, 99))
    assert service.endpoint.number == 1


async def test_keys_are_looked_at_before_the_plan(service: Any, store: Store, helpers: Any) -> None:
    store.plan = helpers.make_plan(1)
    order: list[str] = []

    async def also() -> None:
        order.append("also")

    def get_plan(model: str) -> ServingPlan:
        order.append(threading.current_thread().name.split("_")[0])
        return helpers.make_plan(1)  # type: ignore[no-any-return]

    store.get_plan = get_plan  # type: ignore[method-assign]
    follower = PlanFollower(service.endpoint.slot, store, 0.001, also)
    follower.start()
    await until(lambda: len(order) >= 4)
    await follower.stop()
    assert order[:4] == ["also", "asyncio", "also", "asyncio"]  # and plans never on the event loop's thread
