"""Models of a pool come into memory when they are asked for, leave it by least use, and never fail each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from raymlops.config.serving import PoolConfig, ServingConfig
from raymlops.errors import ModelLoadFailed, UnavailableError
from raymlops.records.plans import ServingPlan
from raymlops.serving import Endpoint, EventLog, HttpReply, HttpRequest, Loader
from raymlops.serving.pool.hosted import Hosted
from raymlops.serving.pool.loading import Machine
from raymlops.serving.pool.pool import Pool
from raymlops.serving.pool.running_note import RunningNote
from raymlops.serving.pool.watched import WatchedModel
from raymlops.serving.protocol.access import OPEN, Access
from raymlops.serving.protocol.http import error_reply

pytestmark = pytest.mark.asyncio

KIB = 1 << 10


class Plans:
    """A store of plans in memory."""

    def __init__(self) -> None:
        self.newest: dict[str, ServingPlan] = {}
        self.asked = 0

    def plan_numbers(self) -> dict[str, int]:
        self.asked += 1
        return {model: plan.number for model, plan in self.newest.items()}

    def get_plan(self, model: str) -> ServingPlan:
        return self.newest[model]

    def served_plans(self) -> dict[str, ServingPlan]:
        return {model: plan for model, plan in self.newest.items() if plan.served}


class Others:
    """Answers for whoever the pool does not."""

    def admit(self, access: Access) -> None:
        """Asks nobody for a key."""

    async def handle(self, request: HttpRequest) -> HttpReply:
        return error_reply(404, "not of the pool")


class World:
    """A pool of models whose files are those of one classifier."""

    def __init__(self, helpers: Any, versions: Any, config: ServingConfig, notes: Path) -> None:
        self.helpers, self.versions, self.config, self.notes = helpers, versions, config, notes
        self.plans: Any = Plans()
        self.sink = helpers.FakeSink()
        self.now_s = 100.0
        self.loads: list[tuple[str, int]] = []
        self.held_up: dict[str, threading.Event] = {}
        self.broken: set[str] = set()
        self.limit_bytes = 1 << 30
        self.alarms: list[Callable[[], None]] = []
        self.held_bytes = 0
        self.on_load: Callable[[str], None] = lambda model: None

    def plan(self, model: str, number: int = 1, champion: int = 1, **changes: Any) -> ServingPlan:
        made: ServingPlan = self.helpers.make_plan(number, champion, service=None, pooled=True, **changes)
        plan = self.plans.newest[model] = made.model_copy(update={"model": model})
        return plan

    def open(self, limit_bytes: int | None = None) -> Pool:
        config = PoolConfig(memory_bytes=1 << 20).model_copy(update={"memory_bytes": limit_bytes or 1 << 30})
        return Pool(
            self.plans,
            self._make,
            Others(),
            config,
            self.notes,
            access=OPEN,
            machine=Machine(lambda: self.now_s, self._later, lambda: self.held_bytes),
        )

    def _later(self, after_s: float, then: Callable[[], None]) -> asyncio.TimerHandle:
        assert after_s == 30.0
        self.alarms.append(then)
        return asyncio.get_running_loop().call_later(3600, lambda: None)

    def deadlines_pass(self) -> None:
        for alarm in self.alarms:
            alarm()

    def _make(self, hosted: Hosted) -> Endpoint:
        world = self

        class Recording(Loader):
            def load(self, plan: ServingPlan, *args: Any) -> Any:
                world.loads.append((plan.model, plan.number))
                world.on_load(plan.model)
                if plan.model in world.held_up:
                    assert world.held_up[plan.model].wait(60)
                if plan.model in world.broken:
                    raise ModelLoadFailed("its files are altered")
                return super().load(plan, *args)

        loader = Recording(self.versions, watch=lambda model: WatchedModel(model, hosted.work))
        events = EventLog(hosted.model, self.sink, self.config.events)
        return Endpoint(hosted.model, loader, config=self.config, events=events, on_demand=hosted)

    async def ask(self, pool: Pool, model: str, action: str = "/infer") -> tuple[int, Any]:
        body = orjson.dumps(self.helpers.matrix_body()) if action == "/infer" else b""
        method = "POST" if action == "/infer" else "GET"
        reply = await pool.handle(HttpRequest(method, f"/v2/models/{model}{action}", {}, body))
        return reply.status, orjson.loads(reply.body)

    async def versions_of(self, pool: Pool, *models: str) -> list[str]:
        return [(await self.ask(pool, model))[1]["model_version"] for model in models]


@pytest.fixture
def world(helpers: Any, versions: Any, config: ServingConfig, tmp_path: Path) -> World:
    return World(helpers, versions, config, tmp_path / "pool")


@asynccontextmanager
async def opened(world: World, limit_bytes: int | None = None) -> AsyncIterator[Pool]:
    pool = world.open(limit_bytes)
    await pool.look()
    try:
        yield pool
    finally:
        await pool.stop()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


async def test_each_model_answers_for_itself_and_is_loaded_at_its_first_request(world: World) -> None:
    for number, model in enumerate("abc"):
        world.plan(model, champion=1 + number)
    async with opened(world) as pool:
        assert (pool.loaded, world.loads) == ([], [])
        assert await world.ask(pool, "b", "/ready") == (200, {"name": "b", "ready": True})
        assert world.loads == []  # whoever asks whether it is ready brings nothing into memory
        assert await world.versions_of(pool, "a", "b", "c", "a") == ["1", "2", "3", "1"]
        assert [model for model, _ in world.loads] == ["a", "b", "c"]
        assert (await world.ask(pool, "nobody"))[0] == 404
        assert await pool.flush() == 0
    assert {row["version"] for row in world.sink.rows} == {1, 2, 3}


async def test_requests_that_come_together_load_a_cold_model_once(world: World) -> None:
    world.plan("a")
    world.held_up["a"] = threading.Event()
    async with opened(world) as pool:
        asking = [asyncio.create_task(world.ask(pool, "a")) for _ in range(5)]
        await until(lambda: world.loads == [("a", 1)])
        world.held_up["a"].set()
        assert {status for status, _ in await asyncio.gather(*asking)} == {200}
        assert world.loads == [("a", 1)]


async def test_a_load_that_hangs_or_fails_keeps_no_other_model_waiting(world: World) -> None:
    for model in ("hangs", "fails", "good"):
        world.plan(model)
    world.held_up["hangs"] = threading.Event()
    world.broken.add("fails")
    async with opened(world) as pool:
        hanging = asyncio.create_task(world.ask(pool, "hangs"))
        await until(lambda: ("hangs", 1) in world.loads)
        status, told = await world.ask(pool, "fails")
        assert (status, told) == (503, {"error": "model 'fails' cannot be loaded: its files are altered"})
        assert await world.versions_of(pool, "good") == ["1"]
        assert (await world.ask(pool, "fails"))[0] == 503
        assert (await world.ask(pool, "fails", "/ready"))[0] == 503
        assert world.loads.count(("fails", 1)) == 1  # it is left alone for a while
        assert pool.hostings()["fails"][:2] == (0, "its files are altered")
        world.broken.clear()
        world.now_s += 2
        assert await world.versions_of(pool, "fails") == ["1"]
        world.held_up["hangs"].set()
        assert (await hanging)[0] == 200


async def test_models_leave_memory_by_least_use_and_come_back(world: World) -> None:
    for model in "abcd":
        world.plan(model)
    async with opened(world, 3 * 64 * KIB) as pool:  # a model of a few KiB is taken for 64
        await world.versions_of(pool, "a", "b", "c", "a", "d")
        assert sorted(pool.loaded) == ["a", "c", "d"]
        assert await world.versions_of(pool, "b") == ["1"]
        replies = pool.endpoints["b"].stats.replies
        assert replies == {200: 2}  # its figures outlive its leaving


async def test_a_limit_smaller_than_one_model_leaves_it_the_memory_alone_and_says_that_it_should_leave(
    world: World,
) -> None:
    world.plan("a")
    world.plan("b", champion=2)
    async with opened(world, 1 * KIB) as pool:
        for _ in range(3):
            assert await world.versions_of(pool, "a") == ["1"]
            assert pool.loaded == ["a"]
            assert await world.versions_of(pool, "b") == ["2"]
            assert pool.loaded == ["b"]
        await pool.look()
        assert "more than the pool's 0 MiB" in str(pool.hostings()["a"].leaves)


async def test_a_request_that_comes_while_its_model_leaves_memory_is_answered(world: World) -> None:
    world.plan("a")
    world.plan("b", champion=2)
    async with opened(world, 1 * KIB) as pool:
        asked = [world.ask(pool, model) for model in "abababababab"]
        answers = await asyncio.gather(*asked)
        assert [(status, answer["model_version"]) for status, answer in answers] == [(200, "1"), (200, "2")] * 6


async def test_a_prepared_version_is_served_at_the_swap_and_a_broken_one_never(world: World) -> None:
    world.plan("a")
    async with opened(world) as pool:
        second = world.plan("a", 2, champion=2, backup=1)
        assert await pool.prepare(second) == 2
        assert await world.versions_of(pool, "a") == ["1"]
        assert await pool.swap("a", 2) == 2
        assert await world.versions_of(pool, "a") == ["2"]
        world.broken.add("a")
        with pytest.raises(ModelLoadFailed):
            await pool.prepare(world.plan("a", 3, champion=3))
        assert await world.versions_of(pool, "a") == ["2"]


async def test_a_plan_that_was_not_broadcast_is_found_by_a_look_be_the_model_in_memory_or_not(world: World) -> None:
    world.plan("hot")
    world.plan("cold")
    async with opened(world) as pool:
        await world.versions_of(pool, "hot")
        world.plan("hot", 2, champion=2)
        world.plan("cold", 2, champion=3)
        world.plan("new", 1, champion=2)
        assert await world.versions_of(pool, "hot") == ["1"]
        await pool.look()
        await until(lambda: pool.hostings()["hot"].plan == 2)
        assert await world.versions_of(pool, "hot", "cold", "new") == ["2", "3", "2"]


async def test_a_model_that_nobody_knew_is_looked_for_when_it_is_asked_for(world: World) -> None:
    async with opened(world) as pool:
        world.plan("new")
        world.now_s += 1
        assert await world.versions_of(pool, "new") == ["1"]
        asked = world.plans.asked
        for _ in range(20):
            assert (await world.ask(pool, "nobody"))[0] == 404
        assert world.plans.asked <= asked + 1  # whoever asks for what never was costs the store little


async def test_a_model_on_its_way_out_answers_until_its_time_is_over_and_an_undeployed_one_not_at_all(
    world: World,
) -> None:
    world.plan("moves")
    world.plan("ends")
    async with opened(world) as pool:
        await world.versions_of(pool, "moves", "ends")
        moved = world.plan("moves", 2)
        world.plans.newest["moves"] = moved.model_copy(update={"pooled": False})
        world.plan("ends", 2, served=False)
        await pool.look()
        moving = "it is to have an application of its own"
        assert pool.hostings() == {"moves": (1, None, moving)}  # by which the pool is kept until it has
        assert (await world.ask(pool, "moves"))[0] == 200
        assert (await world.ask(pool, "ends"))[0] == 404
        world.now_s += 121
        await pool.look()
        assert pool.hostings() == {}
        assert (await world.ask(pool, "moves"))[0] == 404


async def test_a_model_on_its_way_out_answers_as_long_as_callers_are_sent_to_the_pool(world: World) -> None:
    world.plan("moves")
    async with opened(world) as pool:
        await world.versions_of(pool, "moves")
        world.plans.newest["moves"] = world.plan("moves", 2).model_copy(update={"pooled": False})
        await pool.look()
        for _ in range(5):  # the process that it is to have does not come up
            assert (await world.ask(pool, "moves"))[0] == 200
            world.now_s += 100
            await pool.look()
        assert (await world.ask(pool, "moves"))[0] == 200


async def test_a_suspect_is_not_loaded_and_its_neighbours_are(world: World) -> None:
    dead = RunningNote(world.notes)
    dead.mark("good")
    with dead.mark("bad"):
        (written,) = world.notes.glob("*.running")
        content = written.read_bytes()
    dead.close()
    left = world.notes / "left.running"
    left.write_bytes(content)
    world.plan("good")
    bad = world.plan("bad")
    async with opened(world) as pool:
        assert await world.versions_of(pool, "good") == ["1"]
        status, told = await world.ask(pool, "bad")
        assert (status, "its code ran when a process of the pool ended" in told["error"]) == (503, True)
        assert ("bad", 1) not in world.loads
        hosting = pool.hostings()["bad"]
        assert (hosting.plan, hosting.leaves) == (0, hosting.problem)
        assert pool.hostings()["good"].leaves is None
        assert left.exists()  # the next process has to know, too, if this one ends now
        world.plans.newest["bad"] = bad.model_copy(update={"number": 2, "pooled": False})
        await pool.look()
        assert not left.exists()
        assert (await world.ask(pool, "bad"))[0] == 404


async def test_figures_are_told_of_models_that_were_used(world: World) -> None:
    for model in "abc":
        world.plan(model)
    async with opened(world) as pool:
        await world.versions_of(pool, "a", "b")
        last, told = pool.families(0)
        assert [model for model, _ in told] == ["a", "b"]
        await world.versions_of(pool, "b")
        assert [model for model, _ in pool.families(last)[1]] == ["b"]


async def test_who_has_no_key_brings_nothing_into_memory(world: World) -> None:
    world.plan("a")
    async with opened(world) as pool:
        pool.admit(Access(required=True))
        for action in ("/infer", "/ready", ""):
            assert (await world.ask(pool, "a", action))[0] == 401
        assert world.loads == []
        pool.admit(OPEN)
        assert await world.versions_of(pool, "a") == ["1"]


async def test_who_waits_too_long_for_a_model_is_told_and_the_load_goes_on(world: World) -> None:
    world.plan("a")
    world.config = world.config.model_copy(update={"deadline": timedelta(milliseconds=100)})
    world.held_up["a"] = threading.Event()
    async with opened(world) as pool:
        assert (await world.ask(pool, "a"))[0] == 504
        world.held_up["a"].set()
        await until(lambda: pool.loaded == ["a"])
        assert await world.versions_of(pool, "a") == ["1"]
        assert world.loads == [("a", 1)]


async def test_the_calls_of_a_model_are_counted_and_timed(world: World) -> None:
    world.plan("a")
    async with opened(world) as pool:
        await world.versions_of(pool, *["a"] * 20)
        worked = pool._hosted["a"].work.worked
        assert worked.calls >= 20  # and those by which it was checked when it was loaded
        assert worked.seconds > 0


async def test_a_plan_that_mends_what_could_not_be_loaded_is_tried_at_once(world: World) -> None:
    world.plan("a")
    world.broken.add("a")
    async with opened(world) as pool:
        assert (await world.ask(pool, "a"))[0] == 503
        world.broken.clear()
        world.plan("a", 2, champion=2)
        await pool.look()
        assert await world.ask(pool, "a", "/ready") == (200, {"name": "a", "ready": True})
        assert await world.versions_of(pool, "a") == ["2"]


async def test_what_was_wrong_with_a_plan_is_forgotten_once_it_was_prepared_and_served(world: World) -> None:
    plan = world.plan("a")
    world.broken.add("a")
    async with opened(world) as pool:
        assert (await world.ask(pool, "a"))[0] == 503
        world.broken.clear()
        await pool.prepare(plan)
        await pool.swap("a", 1)
        pool._hosted["a"].slot.release()
        assert pool.hostings()["a"] == (1, None, None)


async def test_a_newer_plan_that_cannot_be_loaded_is_in_the_log(world: World, caplog: Any) -> None:
    world.plan("a")
    async with opened(world) as pool:
        await world.versions_of(pool, "a")
        world.broken.add("a")
        world.plan("a", 2, champion=2)
        await pool.look()
        await until(lambda: "plan 2 of a cannot be loaded" in caplog.text)
        assert await world.versions_of(pool, "a") == ["1"]


async def test_a_load_that_ends_late_takes_no_prepared_plan_away(world: World) -> None:
    world.plan("a")
    async with opened(world) as pool:
        await world.versions_of(pool, "a")
        second = world.plan("a", 2, champion=2, backup=1)
        await pool.prepare(second)
        hosted = pool._hosted["a"]
        hosted.slot.release()
        assert await world.versions_of(pool, "a") == ["1"]  # it comes back by the plan that is still served
        assert hosted.prepared is not None
        assert await pool.swap("a", 2) == 2
        assert await world.versions_of(pool, "a") == ["2"]


async def test_a_plan_of_loaded_versions_takes_the_memory_that_they_take(world: World) -> None:
    world.plan("a", 1, champion=1)
    async with opened(world) as pool:
        await world.versions_of(pool, "a")
        hosted = pool._hosted["a"]
        hosted.nbytes = 50 << 20  # as it was measured when its versions were loaded
        await pool.prepare(world.plan("a", 2, champion=1, replicas=2))
        await pool.swap("a", 2)
        assert hosted.nbytes == 50 << 20
        await pool.prepare(world.plan("a", 3, champion=2))
        await pool.swap("a", 3)
        assert hosted.nbytes < 1 << 20  # the new version alone is held


async def test_a_swap_finds_its_plan_though_a_look_began_before_the_plan_was_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plan("a")
    async with opened(world) as pool:
        await world.versions_of(pool, "a")
        began, goes_on, read = threading.Event(), threading.Event(), world.plans.plan_numbers

        def slow() -> dict[str, int]:
            numbers: dict[str, int] = read()
            began.set()
            assert goes_on.wait(20)
            return numbers

        monkeypatch.setattr(world.plans, "plan_numbers", slow)
        looking = asyncio.create_task(pool.look())
        await until(began.is_set)
        world.plan("a", 2, champion=2)
        swapping = asyncio.create_task(pool.swap("a", 2))
        goes_on.set()
        await looking
        assert await swapping == 2
        assert await world.versions_of(pool, "a") == ["2"]


async def test_a_swap_says_what_is_served_where_its_plan_cannot_be_loaded(world: World) -> None:
    world.plan("a")
    async with opened(world) as pool:
        await world.versions_of(pool, "a")
        world.broken.add("a")
        world.plan("a", 2, champion=2)
        assert await pool.swap("a", 2) == 1
        assert await world.versions_of(pool, "a") == ["1"]


async def test_whoever_asks_for_an_unknown_model_does_not_wait_for_a_store_that_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymlops.serving.pool.pool._LOOK_S", 0.05)
    async with opened(world) as pool:
        goes_on, read = threading.Event(), world.plans.plan_numbers

        def hangs() -> dict[str, int]:
            assert goes_on.wait(60)
            numbers: dict[str, int] = read()
            return numbers

        monkeypatch.setattr(world.plans, "plan_numbers", hangs)
        world.now_s += 1
        try:
            async with asyncio.timeout(20):
                assert (await world.ask(pool, "nobody"))[0] == 404
        finally:
            goes_on.set()


async def test_loads_that_hang_give_their_turns_back_and_their_models_are_refused_in_one_line(world: World) -> None:
    hanging = [f"hangs-{number}" for number in range(4)]
    for model in [*hanging, "good"]:
        world.plan(model)
    goes_on = threading.Event()
    world.held_up = dict.fromkeys(hanging, goes_on)
    async with opened(world) as pool:
        try:
            asking = [asyncio.create_task(world.ask(pool, model)) for model in hanging]
            await until(lambda: len(world.loads) == 4)
            neighbour = asyncio.create_task(world.ask(pool, "good"))
            await until(lambda: pool._hosted["good"].used == 5)
            assert ("good", 1) not in world.loads  # all turns are taken
            world.now_s += 30
            world.deadlines_pass()
            assert (await neighbour)[0] == 200
            told = [answer for _, answer in await asyncio.gather(*asking)]
            why = "its load did not end within 30 s"
            assert told[0] == {"error": f"model 'hangs-0' cannot be loaded: {why}"}
            assert pool.hostings()["hangs-1"] == (0, why, None)
            await pool.look()
            leaves = f"{why}, and other models could be loaded meanwhile"
            assert {model: pool.hostings()[model].leaves for model in hanging} == dict.fromkeys(hanging, leaves)
            assert pool.hostings()["good"].leaves is None
            world.now_s += 60
            assert (await world.ask(pool, "hangs-2"))[0] == 503
            assert world.loads.count(("hangs-2", 1)) == 1  # no second thread waits behind the first
        finally:
            goes_on.set()
        await until(lambda: not any(pool._loading.problem(model) for model in hanging))
        world.now_s += 120
        assert await world.versions_of(pool, "hangs-2") == ["1"]
        await pool.look()
        assert pool.hostings()["hangs-3"].leaves is None


async def test_no_model_is_moved_out_for_a_store_that_hangs_for_all(world: World) -> None:
    world.plan("a")
    world.plan("b")
    goes_on = threading.Event()
    world.held_up = dict.fromkeys("ab", goes_on)
    async with opened(world) as pool:
        try:
            asking = [asyncio.create_task(world.ask(pool, model)) for model in "ab"]
            await until(lambda: len(world.loads) == 2)
            world.deadlines_pass()
            assert {status for status, _ in await asyncio.gather(*asking)} == {503}
            await pool.look()
            assert [pool.hostings()[model].leaves for model in "ab"] == [None, None]
        finally:
            goes_on.set()


async def test_a_new_version_whose_load_hangs_leaves_the_present_one_in_service(world: World) -> None:
    world.plan("a")
    world.plan("b")
    goes_on = threading.Event()
    async with opened(world) as pool:
        await world.versions_of(pool, "a")
        world.held_up["a"] = goes_on
        try:
            preparing = asyncio.create_task(pool.prepare(world.plan("a", 2, champion=2)))
            await until(lambda: ("a", 2) in world.loads)
            world.now_s += 30
            world.deadlines_pass()
            with pytest.raises(UnavailableError, match="its load did not end within 30 s"):
                await preparing
            assert await world.versions_of(pool, "a", "b") == ["1", "1"]
            await pool.look()
            assert pool.hostings()["a"].leaves is None  # an application of its own could not load it either
        finally:
            goes_on.set()


async def test_memory_that_calls_take_while_a_model_is_loaded_is_not_counted_to_it(world: World) -> None:
    for model in ("first", "calls", "loads", "again"):
        world.plan(model)
    async with opened(world) as pool:
        await world.versions_of(pool, "first", "calls")
        hosted = pool._hosted

        def grow(model: str) -> None:
            world.held_bytes += 8 << 20

        def grow_beside_a_call(model: str) -> None:
            with hosted["calls"].work.mark:
                world.held_bytes += 900 << 20

        world.on_load = grow_beside_a_call
        await world.versions_of(pool, "loads")
        unmeasured = hosted["loads"].nbytes
        assert unmeasured < 1 << 20
        world.on_load = grow
        await world.versions_of(pool, "again")
        assert hosted["again"].nbytes == 8 << 20
        hosted["loads"].slot.release()
        world.on_load = grow_beside_a_call
        await world.versions_of(pool, "loads")
        assert unmeasured < hosted["loads"].nbytes < 8 << 20  # as others were measured that have files as large
        assert sorted(pool.loaded) == ["again", "calls", "first", "loads"]


async def test_memory_of_a_request_that_came_meanwhile_is_not_counted_to_the_model_that_loads(world: World) -> None:
    world.plan("busy")
    world.plan("loads")
    world.held_up["loads"] = threading.Event()
    async with opened(world) as pool:
        await world.versions_of(pool, "busy")
        loading = asyncio.create_task(world.ask(pool, "loads"))
        await until(lambda: ("loads", 1) in world.loads)
        assert (await world.ask(pool, "busy", "/ready"))[0] == 200
        world.held_bytes += 900 << 20
        world.held_up["loads"].set()
        assert (await loading)[0] == 200
        assert pool._hosted["loads"].nbytes < 1 << 20
