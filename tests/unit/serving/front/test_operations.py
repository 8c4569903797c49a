"""Orders over HTTP: only with a key that may operate, and told in one line what is wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from raymlops.clock import ManualClock
from raymlops.errors import ConfigError, InvalidTransition, StaleWrite, UnavailableError
from raymlops.records.ledger import LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.records.serving.keys import ApiKey, Scope, new_key, parse_grant
from raymlops.records.serving.orders import Order
from raymlops.serving.front.endpoint_view import EndpointView
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.operations import Operations
from raymlops.serving.front.orders import OPERATIONS
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from raymlops.testing.metadata_examples import example_draft
from tests.support.control import InMemoryLedger

pytestmark = pytest.mark.asyncio

AT = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = ServingPlan(model="churn", number=4, champion=2, service="users@1", created_at=AT)


class Records:
    def __init__(self) -> None:
        self.made: list[ApiKey] = []
        self.plan: ServingPlan | None = PLAN
        self.written = InMemoryLedger(ManualClock(AT))

    @property
    def keys(self) -> Records:
        return self

    plans = models = ledger = keys

    def key(self, *scopes: Scope) -> str:
        key, text = new_key("ann", scopes, AT)
        self.made.append(key)
        return text

    async def list_keys(self) -> Sequence[ApiKey]:
        return self.made

    async def find_plan(self, model: str) -> ServingPlan | None:
        return self.plan if model == "churn" else None

    async def list_versions(self, name: str) -> Any:
        draft = example_draft()
        return (
            [draft.model_copy(update={"version": number}) for number in (1, 2, 3)] if name in {"churn", "new"} else []
        )

    async def entries(self, subject: str | None = None, after: int = 0) -> Sequence[LedgerEntry]:
        return self.written.entries(subject, after)

    async def append_entry(self, *given: Any, **named: Any) -> LedgerEntry:
        return self.written.append_entry(*given, **named)

    async def served_plans(self) -> Any:
        return {} if self.plan is None else {"churn": self.plan}


class Hands:
    """Notes orders; each may be made to fail, or to take for ever."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []
        self.orders: list[Order] = []
        self.outcome: Exception | None = None
        self.hangs = False

    def __getattr__(self, method: str) -> Any:
        async def call(order: Order, *arguments: object, **named: object) -> ServingPlan | None:
            self.orders.append(order)
            self.given.append((method, *arguments, *named.values()))
            if self.hangs:
                await asyncio.Event().wait()
            if self.outcome is not None:
                raise self.outcome
            return None if method == "retire" else PLAN

        return call


async def trial_deadline_ms(model: str) -> float:
    return {"churn": 90.0}[model]


class Switches:
    """A controller that writes down what it is told."""

    def __init__(self, ledger: InMemoryLedger) -> None:
        self._ledger = ledger

    async def pause(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry:
        return self._switch("pause", model, reason, by)

    async def resume(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry:
        return self._switch("resume", model, reason, by)

    def _switch(self, action: str, model: str | None, reason: str, by: str) -> LedgerEntry:
        count = len(self._ledger.entries())
        return self._ledger.append_entry(model or "*", action, reason, {"by": by}, key=f"{action}/{count}")


class Approvals:
    def __init__(self) -> None:
        self.given: list[tuple[str, str, str, str]] = []

    async def approve(self, bundle: str, environment: str, *, key: ApiKey, reason: str) -> LedgerEntry:
        self.given.append((bundle, environment, key.name, reason))
        return InMemoryLedger(ManualClock(AT)).append_entry("bundle", "approve_bundle", reason, {}, key="a")


class World:
    def __init__(self) -> None:
        self.records, self.hands, self.approvals = Records(), Hands(), Approvals()
        self.operations = Operations(
            self.records,
            self.hands,
            0.05,
            trial_deadline_ms,
            controls=Switches(self.records.written),
            delivery=self.approvals,
        )
        self.gateway = Gateway("1", self.records, None, self.operations)

    async def post(
        self, path: str, key: str | None, body: bytes = b"", method: str = "POST", **headers: str
    ) -> HttpReply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {} if key is None else {"authorization": f"Bearer {key}"}
        return await self.gateway.handle(HttpRequest(method, f"/v2/repository/models/{path}", sent, body))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("action", OPERATIONS)
async def test_nobody_operates_without_a_key_that_may(world: World, action: str) -> None:
    assert (await world.post(f"churn/{action}", None)).status == 401
    for wrong in ("nonsense", world.records.key("operate")[:-1]):
        assert (await world.post(f"churn/{action}", wrong)).status == 401
    assert (await world.post(f"churn/{action}", world.records.key("infer", "label"))).status == 403
    assert world.hands.given == []


@pytest.mark.parametrize(
    ("path", "parameters", "given"),
    [
        ("churn/load", {}, ("deploy", "churn", 2, "users@1", None, None, None)),
        ("churn/load", {"version": 3, "features": "f", "replicas": 2}, ("deploy", "churn", 3, "f", 2, None, None)),
        ("churn/load", {"pooled": True}, ("deploy", "churn", 2, "users@1", None, None, True)),
        ("new/load", {}, ("deploy", "new", 3, None, None, None, None)),
        ("churn/unload", {"unload_dependents": False}, ("undeploy", "churn")),
        ("churn/promote", {"version": 3}, ("promote", "churn", 3)),
        ("churn/rollback", {}, ("rollback", "churn")),
        ("churn/abort", {}, ("rollback", "churn", True)),
        ("churn/block", {"version": 3}, ("block", "churn", 3)),
        ("churn/unblock", {"version": 3}, ("unblock", "churn", 3)),
        ("churn/retire", {"version": 1, "reason": "old"}, ("retire", "churn", 1)),
    ],
)
@pytest.mark.parametrize("scope", ["operate", "admin"])
async def test_an_order_is_passed_on_with_who_gave_it(
    world: World, path: str, parameters: dict[str, Any], given: tuple[Any, ...], scope: Scope
) -> None:
    reply = await world.post(path, world.records.key(scope), orjson.dumps({"parameters": parameters}))
    assert (reply.status, world.hands.given) == (200, [given])
    if given[0] != "retire":
        assert ServingPlan.model_validate_json(reply.body) == PLAN
    (order,) = world.hands.orders
    assert (order.by, order.reason) == (f"key {world.records.made[0].id} (ann)", parameters.get("reason", "over HTTP"))


async def test_a_trial_has_the_deadline_of_its_model(world: World) -> None:
    body = orjson.dumps({"parameters": {"version": 3, "mode": "shadow", "weight": 1.0}})
    assert (await world.post("churn/trial", world.records.key("operate"), body)).status == 200
    ((method, model, trial),) = world.hands.given
    assert (method, model, trial.version, trial.mode, trial.deadline_ms) == ("start_trial", "churn", 3, "shadow", 90.0)


@pytest.mark.parametrize("scope", ["trigger", "admin"])
async def test_a_retraining_is_asked_for_once(world: World, scope: Scope) -> None:
    key, body = world.records.key(scope), orjson.dumps({"parameters": {"reason": "labels were mended"}})
    first, again = [await world.post("churn/retrain", key, body, idempotency_key="nightly-7") for _ in range(2)]
    assert (first.status, first.body) == (200, again.body)
    told = orjson.loads(first.body)
    by = f"key {world.records.made[0].id} (ann)"
    assert (told["order"], told["request"], told["by"]) == (1, "nightly-7", by)
    (entry,) = world.records.written.entries("churn")
    assert (entry.action, entry.reason) == ("order_retraining", "labels were mended")
    assert entry.evidence == {"by": by, "via": "http", "request": "nightly-7"}
    await world.post("churn/retrain", key)
    await world.post("churn/retrain", key)
    assert len(world.records.written.entries("churn")) == 3, "without a key of their own, orders are two"
    assert world.hands.given == []


async def test_a_retraining_has_a_scope_of_its_own(world: World) -> None:
    assert (await world.post("churn/retrain", world.records.key("operate"))).status == 403
    assert (await world.post("churn/rollback", world.records.key("trigger"))).status == 403
    key = world.records.key("trigger")
    assert (await world.post("nobody/retrain", key)).status == 404
    assert (await world.post("churn/retrain", key, b'{"parameters": {"force": true}}')).status == 400
    assert (await world.post("churn/retrain", key, idempotency_key="x" * 10_000)).status == 400
    world.records.plan = PLAN.model_copy(update={"served": False})
    assert (await world.post("churn/retrain", key)).status == 404
    assert world.records.written.entries() == []


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("churn/promote", b"{", 400, "the body must be JSON"),
        ("churn/promote", b"[]", 400, "got not an object"),
        ("churn/promote", b'{"version": 3}', 400, "got version"),
        ("churn/promote", b"", 400, "promote: version: Field required"),
        ("churn/promote", b'{"parameters": {"version": 0}}', 400, "promote: version: Input should be greater"),
        (
            "churn/promote",
            b'{"parameters": {"version": true}}',
            400,
            "promote: version: Input should be a valid integer",
        ),
        ("churn/load", b'{"parameters": {"version": "1"}}', 400, "load: version: Input should be a valid integer"),
        ("churn/load", b'{"parameters": []}', 400, "load: parameters: Input should be a valid dictionary"),
        ("churn/load", b'{"parameters": {"config": "{}"}}', 400, "load: config: Extra inputs are not permitted"),
        ("churn/load", b" " * 70_000, 400, "at most 65536 bytes"),
        ("nobody/load", b"", 404, "model 'nobody' does not exist"),
        ("nobody/trial", b'{"parameters": {"version": 1}}', 404, "'nobody' is not deployed"),
        ("churn/explode", b"", 404, "there is no '/v2/repository/models/churn/explode'"),
        ("a/b/load", b"", 404, "there is no"),
    ],
)
async def test_what_is_wrong_is_said(world: World, path: str, body: bytes, status: int, said: str) -> None:
    reply = await world.post(path, world.records.key("operate"), body)
    assert (reply.status, world.hands.given) == (status, [])
    assert said in orjson.loads(reply.body)["error"]


async def test_what_cannot_be_done_and_what_takes_too_long_is_told(world: World) -> None:
    key = world.records.key("operate")
    assert (await world.post("churn/rollback", key, method="GET")).status == 405
    world.hands.outcome = InvalidTransition("neither a trial nor a backup")
    assert (await world.post("churn/rollback", key)).status == 409
    world.hands.outcome = ConfigError("reference must be NAME or NAME@VERSION, got '../x'")
    assert (await world.post("churn/load", key, b'{"parameters": {"features": "../x"}}')).status == 400
    world.hands.hangs = True
    assert (await world.post("churn/rollback", key)).status == 504


class Looks:
    """A reconciler that says what it saw, or nothing."""

    def __init__(self) -> None:
        self.statuses_told = [EndpointStatus(model="churn", plan=4, champion=2, replicas=1, answers=True)]
        self.error: Exception | None = None
        self.asked = 0

    async def statuses(self) -> Sequence[EndpointStatus]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.statuses_told


async def test_readiness_is_what_answers_and_says_what_does_not() -> None:
    looks, records, now = Looks(), Records(), [0.0]
    gateway = Gateway("1", records, EndpointView(looks, lambda: now[0]))

    async def ready() -> tuple[int, dict[str, Any]]:
        reply = await gateway.handle(HttpRequest("GET", "/v2/health/ready"))
        return reply.status, orjson.loads(reply.body)

    assert await ready() == (200, {"ready": True})
    await ready()
    assert looks.asked == 1  # for a moment, what was said holds
    reason = "plan 4 (version 2) is planned; its endpoint has been starting for 4 s"
    looks.statuses_told = [looks.statuses_told[0].model_copy(update={"answers": False, "reason": reason})]
    now[0] = 1.0
    assert await ready() == (503, {"error": f"1 of 1 models do not answer: churn: {reason}"})
    reply = await gateway.handle(HttpRequest("POST", "/v2/models/churn/infer"))
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert orjson.loads(reply.body)["error"] == f"the endpoint of model 'churn' is not up yet: {reason}"
    looks.statuses_told = []
    now[0] = 2.0
    assert await ready() == (503, {"error": "1 of 1 models do not answer: churn: nobody has looked yet"})
    records.plan = None
    assert await ready() == (200, {"ready": True})
    assert (await gateway.handle(HttpRequest("POST", "/v2/models/churn/infer"))).status == 404


async def test_readiness_outlives_who_looks_for_a_minute() -> None:
    looks, now = Looks(), [0.0]
    view = EndpointView(looks, lambda: now[0])
    assert (await view.statuses())["churn"].answers
    looks.error = UnavailableError("the reconciler actor died")
    now[0] = 50.0
    assert (await view.statuses())["churn"].answers
    now[0] = 61.0
    with pytest.raises(UnavailableError, match="not known: the reconciler actor died"):
        await view.statuses()


@pytest.mark.parametrize("action", ["promote", "rollback", "unload", "pause"])
async def test_the_use_of_a_right_is_in_the_ledger_before_it_acts(world: World, action: str) -> None:
    world.hands.outcome = InvalidTransition("it cannot be done")
    parameters = {"reason": "on call", **({"version": 3} if action == "promote" else {})}
    text = world.records.key("operate")
    await world.post(f"churn/{action}", text, orjson.dumps({"parameters": parameters}), idempotency_key="r-1")
    used = world.records.written.entries("churn")[0]
    key = world.records.made[0]
    assert (used.action, used.reason) == ("use_right", "on call")
    assert (used.evidence["asked"], used.evidence["key"], used.evidence["name"]) == (action, key.id, "ann")
    assert (used.evidence["via"], used.evidence["request"]) == ("http", "r-1")
    assert text.split("_", 2)[2] not in used.model_dump_json()


async def test_an_order_says_which_plan_it_was_decided_by_and_may_be_looked_at(world: World) -> None:
    key = world.records.key("operate")
    body = orjson.dumps({"parameters": {"version": 3, "expected_plan": 4, "dry_run": True}})
    assert (await world.post("churn/promote", key, body)).status == 200
    assert (world.hands.orders[0].expected_plan, world.hands.orders[0].dry_run) == (4, True)
    assert world.records.written.entries() == [], "looking is no use of a right"
    assert (await world.post("churn/promote", None, body)).status == 401
    world.hands.outcome = StaleWrite("the newest plan of churn must still be 4, got 5")
    reply = await world.post("churn/promote", key, body)
    assert (reply.status, orjson.loads(reply.body)["error"]) == (409, str(world.hands.outcome))


@pytest.mark.parametrize("action", ["promote", "pause", "retrain"])
async def test_the_name_of_an_order_hides_no_other_order(world: World, action: str) -> None:
    def body(version: int) -> bytes:
        return orjson.dumps({"parameters": {"version": version} if action == "promote" else {}})

    path, ann = f"churn/{action}", world.records.key("operate", "trigger")
    assert (await world.post(path, ann, body(3), idempotency_key="r-1")).status == 200
    assert (await world.post(path, ann, body(3), idempotency_key="r-1")).status == 200
    before, given = world.records.written.entries(), list(world.hands.given)
    bob = world.records.key("operate", "trigger")
    others = [(bob, 3), (ann, 2)] if action == "promote" else [(bob, 3)]
    for key, version in others:
        reply = await world.post(path, key, body(version), idempotency_key="r-1")
        assert reply.status == 409
        assert "request 'r-1' must name one order" in orjson.loads(reply.body)["error"]
    assert (world.records.written.entries(), world.hands.given) == (before, given)


async def test_an_order_that_is_given_again_reads_only_what_is_about_its_model(world: World) -> None:
    key, asked = world.records.key("operate"), []
    entries = world.records.entries

    async def noted(subject: str | None = None, after: int = 0) -> Sequence[LedgerEntry]:
        asked.append(subject)
        return await entries(subject, after)

    world.records.entries = noted  # type: ignore[method-assign]
    for _ in range(2):
        assert (await world.post("churn/pause", key, idempotency_key="1")).status == 200
    assert asked == ["churn", "churn"]


async def test_the_loop_is_paused_once_by_one_order(world: World) -> None:
    key = world.records.key("operate")

    async def switch(action: str, request: str, path: str = "churn") -> int:
        return (await world.post(f"{path}/{action}", key, idempotency_key=request)).status

    assert [await switch("pause", "1"), await switch("resume", "2"), await switch("pause", "1")] == [200] * 3
    assert [entry.action for entry in world.records.written.entries("churn")] == [
        "use_right",
        "pause",
        "use_right",
        "resume",
    ]
    assert await switch("pause", "3", "*") == 200
    assert [entry.action for entry in world.records.written.entries("*")] == ["use_right", "pause"]
    assert await switch("pause", "4", "nobody") == 404
    narrow, text = new_key("bob", [], AT, grants=[parse_grant("operate:churn")])
    world.records.made.append(narrow)
    assert (await world.post("*/pause", text)).status == 403


async def test_a_bundle_is_approved_in_the_name_of_the_key(world: World) -> None:
    key, text = new_key("bob", [], AT, grants=[parse_grant("operate:env/staging")])
    world.records.made.append(key)
    bundle = "b" * 64

    async def approve(environment: str, told: str = bundle) -> int:
        body = orjson.dumps({"parameters": {"bundle": told, "reason": "seen"}})
        headers = {"authorization": f"Bearer {text}"}
        path = f"/v2/repository/environments/{environment}/approve"
        return (await world.gateway.handle(HttpRequest("POST", path, headers, body))).status

    assert await approve("staging") == 200
    assert world.approvals.given == [(bundle, "staging", "bob", "seen")]
    assert [await approve("prod"), await approve("staging", "nope")] == [403, 400]
    assert [entry.subject for entry in world.records.written.entries()] == ["env/staging"]
