"""Every grant against every route: over HTTP, binary, gRPC and orders, at the endpoint and at the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
import orjson
import pytest

from raymlops.clock import ManualClock
from raymlops.records.ledger import LedgerEntry
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.keys import ApiKey, Grant, Scope, new_key
from raymlops.serving.front import open_inference_pb2 as pb
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.grpc_service import InferenceService
from raymlops.serving.front.operations import Operations
from raymlops.serving.front.orders import ENVIRONMENT_OPERATIONS, OPERATIONS
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest
from raymlops.serving.protocol.open_inference import BINARY_HEADER
from tests.support.control import InMemoryLedger

pytestmark = pytest.mark.asyncio

AT = datetime(2026, 1, 1, tzinfo=UTC)
SCOPES: tuple[Scope, ...] = get_args(Scope)
TARGETS = ("*", "delay", "other", "env/*", "env/prod", "env/dev")
BUNDLE = "b" * 64

MAY: dict[str, set[str]] = {
    "describe": {"infer", "read", "operate", "admin"},
    "infer": {"infer", "admin"},
    "label": {"label", "admin"},
    "trigger": {"trigger", "admin"},
    "operate": {"operate", "admin"},
}
"""What a route needs -> the scopes of which one is enough."""


def over(target: str, scope: str) -> set[str]:
    """What a grant over ``target`` is over, of what the routes here are about."""
    if target == "*":
        return {"delay", "other"} | ({"env/prod"} if scope == "admin" else set())
    return {"env/prod"} if target == "env/*" else {target}


class Records:
    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self.made = keys
        self.written = InMemoryLedger(ManualClock(AT))
        self.keys = self.plans = self.models = self.ledger = self

    async def list_keys(self) -> Sequence[ApiKey]:
        return self.made

    async def find_plan(self, model: str) -> ServingPlan | None:
        return ServingPlan(model=model, number=1, champion=1, created_at=AT)

    async def served_plans(self) -> Mapping[str, ServingPlan]:
        return {name: ServingPlan(model=name, number=1, champion=1, created_at=AT) for name in ("delay", "other")}

    async def list_versions(self, name: str) -> Sequence[Any]:
        return []

    async def append_entry(self, *given: Any, **named: Any) -> LedgerEntry:
        return self.written.append_entry(*given, **named)

    async def entries(self, subject: str | None = None, after: int = 0) -> Sequence[LedgerEntry]:
        return self.written.entries(subject, after)


class Hands:
    """Carries out whatever is asked."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def __getattr__(self, method: str) -> Any:
        async def call(*given: Any, **named: Any) -> Any:
            if method in {"pause", "resume", "approve"}:
                return await self._records.append_entry(
                    "s", method, "r", {}, key=f"{method}{len(self._records.written.entries())}"
                )
            return None if method == "retire" else await self._records.find_plan("delay")

        return call


async def deadline_ms(model: str) -> float:
    del model
    return 1.0


def matrix(data: object) -> dict[str, Any]:
    return {"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 4], **data}]}  # type: ignore[dict-item]


PARAMETERS: dict[str, dict[str, Any]] = {
    action: {"version": 1} for action in ("promote", "trial", "block", "unblock", "retire")
}
ROW = np.array([500.0, 8.0, 5.0, 0.0])

Call = Callable[["Front", Mapping[str, str], str], Awaitable[int]]


class Front:
    """An endpoint, the gateway before it, and gRPC, that share their keys."""

    def __init__(self, endpoint: Any, key: ApiKey) -> None:
        records = Records([key])
        hands: Any = Hands(records)
        access = Access([key])
        operations = Operations(records, hands, 5.0, deadline_ms, controls=hands, delivery=hands)
        self.endpoint = endpoint
        self.gateway = Gateway("1", records, None, operations, access=access)
        self.grpc = InferenceService(self.gateway, self)
        endpoint.admit(access)

    async def ask(self, model: str, request: HttpRequest) -> HttpReply | None:
        return await self.endpoint.handle(request) if model == "delay" else None

    async def http(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> int:
        at_endpoint = path.startswith("/v2/models/delay/") or path == "/v2/models/delay"
        reply = await (self.endpoint if at_endpoint else self.gateway).handle(HttpRequest(method, path, headers, body))
        return int(reply.status)

    async def call(self, method: str, message: Any, headers: Mapping[str, str]) -> int:
        reply = await self.grpc.call(method, message.SerializeToString(), headers)
        return {"PERMISSION_DENIED": 403, "UNAUTHENTICATED": 401, "OK": 200}.get(reply.status, 500)


def routes() -> dict[str, tuple[str, Call]]:
    """Name -> what it needs, and how it is called about a model."""
    json_body = orjson.dumps(matrix({"data": ROW.tolist()}))
    head = orjson.dumps(matrix({"parameters": {"binary_data_size": 32}}))

    def http(method: str, action: str, body: bytes = b"") -> Call:
        return lambda front, headers, model: front.http(method, f"/v2/models/{model}{action}", headers, body)

    def order(action: str) -> Call:
        body = orjson.dumps({"parameters": PARAMETERS.get(action, {})})
        return lambda front, headers, model: front.http(
            "POST", f"/v2/repository/models/{model}/{action}", headers, body
        )

    async def binary(front: Front, headers: Mapping[str, str], model: str) -> int:
        sent = {**headers, BINARY_HEADER: str(len(head))}
        return await front.http("POST", f"/v2/models/{model}/infer", sent, head + ROW.tobytes())

    async def grpc_infer(front: Front, headers: Mapping[str, str], model: str) -> int:
        message = pb.ModelInferRequest(model_name=model, raw_input_contents=[ROW.tobytes()])
        message.inputs.add(name="features", datatype="FP64", shape=[1, 4])
        return await front.call("ModelInfer", message, headers)

    async def grpc_metadata(front: Front, headers: Mapping[str, str], model: str) -> int:
        return await front.call("ModelMetadata", pb.ModelMetadataRequest(name=model), headers)

    async def grpc_ready(front: Front, headers: Mapping[str, str], model: str) -> int:
        return await front.call("ModelReady", pb.ModelReadyRequest(name=model), headers)

    found: dict[str, tuple[str, Call]] = {
        "metadata": ("describe", http("GET", "")),
        "ready": ("describe", http("GET", "/ready")),
        "plan": ("describe", http("GET", "/plan")),
        "version metadata": ("describe", http("HEAD", "/versions/1")),
        "infer": ("infer", http("POST", "/infer", json_body)),
        "version infer": ("infer", http("POST", "/versions/1/infer", json_body)),
        "predict": (
            "infer",
            http("POST", "/predict", b'{"instances": [{"origin": "JFK", "distance": 1.0, "hour": 1}]}'),
        ),
        "labels": ("label", http("POST", "/labels", b'{"labels": []}')),
        "binary infer": ("infer", binary),
        "gRPC infer": ("infer", grpc_infer),
        "gRPC metadata": ("describe", grpc_metadata),
        "gRPC ready": ("describe", grpc_ready),
    }
    for action in OPERATIONS:
        found[f"order {action}"] = ("trigger" if action == "retrain" else "operate", order(action))
    return found


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("target", TARGETS)
async def test_a_grant_opens_its_routes_and_no_other(make_service: Any, scope: Scope, target: str) -> None:
    key, text = new_key("ann", [], AT, grants=[Grant(scope=scope, target=target)])
    service = make_service()
    assert service.serve()
    front = Front(service.endpoint, key)
    headers = {"authorization": f"Bearer {text}"}
    wrong = {}
    for name, (needed, call) in routes().items():
        for model in ("delay", "other"):
            status = await call(front, headers, model)
            may = scope in MAY[needed] and model in over(target, scope)
            # a model without an endpoint answers 503; to whoever may do anything about it, whatever that is
            if model == "other" and not name.startswith("order"):
                may = scope in set(SCOPES) and model in over(target, scope)
            if (status not in {401, 403}) != may:
                wrong[name, model] = status
            assert status != 401, name
            assert await call(front, {}, model) == 401, name
    for action in ENVIRONMENT_OPERATIONS:
        body = orjson.dumps({"parameters": {"bundle": BUNDLE}})
        for environment in ("prod", "dev"):
            status = await front.http("POST", f"/v2/repository/environments/{environment}/{action}", headers, body)
            named = f"env/{environment}"
            covered = target in {named, "env/*"} or (scope, target) == ("admin", "*")
            if (status == 200) != (scope in MAY["operate"] and covered):
                wrong[action, environment] = status
    assert wrong == {}


async def test_orders_and_routes_are_all_in_the_matrix(make_service: Any) -> None:
    endpoint_routes = set(make_service().endpoint._routes)
    assert endpoint_routes == {"", "/ready", "/plan", "/infer", "/predict", "/labels"}, "a new route belongs above"
