"""Orders over HTTP, to change what is served or to retrain a model: for who holds a key that may, on loopback too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol
from uuid import uuid4

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raymlops.errors import ConfigError, DataError, DeploymentNotFound, ModelVersionNotFound, NotFoundError
from raymlops.records.keys import ApiKey, Scope
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelVersion
from raymlops.records.orders import Order
from raymlops.records.plans import ServingPlan, Trial
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply, json_reply, raw_reply
from raymlops.serving.protocol.open_inference import check_id

__all__ = ["OPERATIONS", "OperationRecords", "Operations", "Orders", "operation_schema", "scope_of"]

_PREFIX = "/v2/repository/models/"
_MAX_BODY_BYTES = 64 << 10


class KeyLister(Protocol):
    """Lists the API keys: the asynchronous form of ``KeyStore``."""

    async def list_keys(self) -> Sequence[ApiKey]:
        """All keys."""
        ...


class PlanFinder(Protocol):
    """Finds serving plans: the asynchronous form of ``PlanStore``."""

    async def find_plan(self, model: str) -> ServingPlan | None:
        """The newest plan of a model, if it has one."""
        ...


class VersionLister(Protocol):
    """Lists model versions: the asynchronous form of ``ModelRegistry``."""

    async def list_versions(self, name: str) -> Sequence[ModelVersion]:
        """All versions of a model, oldest first."""
        ...


class LedgerWriter(Protocol):
    """Appends to the ledger; ``Ledger``, awaited."""

    async def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, object] | None = None, *, key: str
    ) -> LedgerEntry:
        """The entry; the one that is there where the key is known."""
        ...


class OperationRecords(Protocol):
    """The stores that operations read, and the ledger."""

    keys: KeyLister
    plans: PlanFinder
    models: VersionLister
    ledger: LedgerWriter


class Orders(Protocol):
    """Carries operations out and returns the resulting serving plan; the reconciler is one."""

    async def deploy(
        self,
        order: Order,
        name: str,
        version: int,
        service: str | None,
        replicas: int | None,
        baseline: None,
        pooled: bool | None,
    ) -> ServingPlan: ...

    async def start_trial(self, order: Order, name: str, trial: Trial) -> ServingPlan: ...

    async def promote(self, order: Order, name: str, version: int) -> ServingPlan: ...

    async def rollback(self, order: Order, name: str) -> ServingPlan: ...

    async def block(self, order: Order, name: str, version: int) -> ServingPlan: ...

    async def unblock(self, order: Order, name: str, version: int) -> ServingPlan: ...

    async def undeploy(self, order: Order, name: str) -> ServingPlan: ...

    async def retire(self, order: Order, name: str, version: int) -> None: ...


class _Parameters(BaseModel):
    # strict: nobody promotes version 1 by `true`
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    reason: str = Field("over HTTP", max_length=500)


class _OfVersion(_Parameters):
    version: int = Field(ge=1)


class _Load(_Parameters):
    version: int | None = Field(None, ge=1)
    features: str | None = Field(None, min_length=1)
    replicas: int | None = Field(None, ge=1, le=1000)
    pooled: bool | None = None


class _Unload(_Parameters):
    unload_dependents: bool = False


class _Trial(_OfVersion):
    mode: Literal["canary", "shadow"] = "canary"
    weight: float = Field(0.1, ge=0, le=1)
    min_labelled_rows: int | None = Field(None, ge=0)


OPERATIONS: dict[str, tuple[type[_Parameters], str]] = {
    "load": (_Load, "Serve a version as champion; left out, the one served last, or the newest"),
    "unload": (_Unload, "Serve the model no more"),
    "promote": (_OfVersion, "Make a version the champion"),
    "rollback": (_Parameters, "End the trial; without one, put the backup back"),
    "trial": (_Trial, "Put a version on trial beside the champion"),
    "block": (_OfVersion, "Have a version answer nobody"),
    "unblock": (_OfVersion, "Let a blocked version answer again"),
    "retire": (_OfVersion, "See to it that a version is never served again"),
    "retrain": (_Parameters, "Ask the controller for a retraining"),
}
"""Action -> its parameters, and what it does."""


def scope_of(action: str) -> Scope:
    """What a key must cover for an action."""
    return "trigger" if action == "retrain" else "operate"


def operation_schema(action: str) -> dict[str, Any]:
    """The JSON schema of an action's parameters."""
    return OPERATIONS[action][0].model_json_schema()


class Operations:
    """Takes ``POST /v2/repository/models/MODEL/ACTION``. Belongs to one event loop.

    Args:
        records: Keys, plans and versions.
        orders: Carries out what is asked for.
        deadline_s: Longest time, on the wall clock, an order may take.
        trial_deadline_ms: Model -> when callers of a trial of it get the champion's answer.
    """

    def __init__(
        self,
        records: OperationRecords,
        orders: Orders,
        deadline_s: float,
        trial_deadline_ms: Callable[[str], Awaitable[float]],
    ) -> None:
        self._records = records
        self._orders = orders
        self._deadline_s = deadline_s
        self._trial_deadline_ms = trial_deadline_ms
        self._actions: dict[str, Callable[[Order, str, Any], Awaitable[ServingPlan | None]]] = {
            "load": self._load,
            "unload": lambda order, model, _: orders.undeploy(order, model),
            "promote": lambda order, model, given: orders.promote(order, model, given.version),
            "rollback": lambda order, model, _: orders.rollback(order, model),
            "trial": self._trial,
            "block": lambda order, model, given: orders.block(order, model, given.version),
            "unblock": lambda order, model, given: orders.unblock(order, model, given.version),
            "retire": lambda order, model, given: orders.retire(order, model, given.version),
        }

    def takes(self, path: str) -> bool:
        """Whether a path is an operation's."""
        return path.startswith(_PREFIX)

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Carry out what a request asks for.

        Raises:
            Unauthenticated: It shows no valid key, whatever else it is.
            Forbidden: Its key does not cover what it asks for.
            RaymlopsError: It cannot be done; the message says why.
            TimeoutError: It was not done within the deadline; it goes on, and the plan will tell.
        """
        model, _, action = request.path[len(_PREFIX) :].rstrip("/").rpartition("/")
        key = Access(await self._records.keys.list_keys()).check(request.headers, scope_of(action))
        if not model or "/" in model or action not in OPERATIONS:
            raise NotFoundError(f"there is no {request.path!r}")
        if request.method != "POST":
            return error_reply(405, f"{request.path!r} takes POST, got {request.method}", allow="POST")
        given = _parameters(action, request.body)
        by = "nobody" if key is None else f"key {key.id} ({key.name})"
        try:
            request_id = check_id(request.headers.get("idempotency-key")) or uuid4().hex
            order = Order(request=request_id, by=by, reason=given.reason)
            async with asyncio.timeout(self._deadline_s):
                if action == "retrain":
                    return await self._retrain(order, model)
                plan = await self._actions[action](order, model, given)
        except ConfigError as error:  # a name that is none, as any other error in what was sent
            raise DataError(f"{action}: {error}") from error
        return json_reply({}) if plan is None else raw_reply(plan.model_dump_json().encode())

    async def _retrain(self, order: Order, model: str) -> HttpReply:
        """Record an order; the controller, which reads it there, answers it with a run."""
        plan = await self._records.plans.find_plan(model)
        if plan is None or not plan.served:
            raise DeploymentNotFound.of(model)
        entry = await self._records.ledger.append_entry(**order.for_retraining(model, "http"))
        told = {"model": model, "order": entry.sequence, "request": order.request, "at": entry.at.isoformat()}
        return json_reply({**told, "by": entry.evidence["by"], "reason": entry.reason})

    async def _load(self, order: Order, model: str, given: _Load) -> ServingPlan:
        plan = await self._records.plans.find_plan(model)
        version, service = given.version, given.features
        if version is None:
            versions = await self._records.models.list_versions(model)
            if plan is None and not versions:
                raise ModelVersionNotFound.of(model)
            version = plan.champion if plan is not None else versions[-1].version
        if plan is not None and service is None:
            service = plan.service
        return await self._orders.deploy(order, model, version, service, given.replicas, None, given.pooled)

    async def _trial(self, order: Order, model: str, given: _Trial) -> ServingPlan:
        plan = await self._records.plans.find_plan(model)
        if plan is None:
            raise DeploymentNotFound.of(model)
        trial = Trial(
            version=given.version,
            mode=given.mode,
            weight=given.weight,
            min_labelled_rows=given.min_labelled_rows,
            deadline_ms=await self._trial_deadline_ms(model),
        )
        return await self._orders.start_trial(order, model, trial)


def _parameters(action: str, body: bytes) -> _Parameters:
    if len(body) > _MAX_BODY_BYTES:
        raise DataError(f"the body must have at most {_MAX_BODY_BYTES} bytes, got {len(body)}")
    try:
        told = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise DataError(f"the body must be JSON: {error}") from error
    unknown = sorted(set(told) - {"parameters"}) if isinstance(told, dict) else ["not an object"]
    if unknown:
        raise DataError(f'the body must be {{"parameters": {{...}}}}, got {", ".join(unknown)}')
    try:
        return OPERATIONS[action][0].model_validate({} if told.get("parameters") is None else told["parameters"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "parameters"
        raise DataError(f"{action}: {where}: {first['msg']}, got {first['input']!r}") from error
