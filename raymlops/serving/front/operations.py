"""Orders to change what is served, to retrain a model, or to deliver: for who holds a key that may, on loopback too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from raymlops.errors import (
    AlreadyRegistered,
    ConfigError,
    DataError,
    DeploymentNotFound,
    ModelVersionNotFound,
    NotFoundError,
    UnavailableError,
)
from raymlops.records.ledger import LedgerEntry
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.serving.keys import ALL_MODELS, ENVIRONMENT, ApiKey
from raymlops.records.serving.orders import Order
from raymlops.serving.front.orders import (
    ENVIRONMENT_OPERATIONS,
    OPERATIONS,
    Asked,
    Controls,
    DeliveryOrders,
    OperationRecords,
    Orders,
    Parameters,
    parameters_in,
    scope_of,
)
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply, json_reply, raw_reply
from raymlops.serving.protocol.open_inference import check_id
from raymlops.serving.protocol.refusal_log import RefusalLog

__all__ = ["USED", "Operations", "Requested"]

_MODELS = "/v2/repository/models/"
_ENVIRONMENTS = "/v2/repository/environments/"
USED = "use_right"
"""Action of the ledger entry by which a key's right is used; what is done stands in entries after it."""


class Requested(NamedTuple):
    """An order as it was given."""

    action: str
    target: str
    """A model, ``*``, or ``env/NAME``."""
    given: Asked
    request: str
    """Names the order, so that it may be given again and counts once."""
    via: Literal["http", "console"] = "http"


class Operations:
    """Takes orders: ``POST /v2/repository/models/MODEL/ACTION`` and ``.../environments/NAME/ACTION``.

    Belongs to one event loop.

    Whoever takes orders in another form, as the console does, hands them to ``carry_out``.

    Args:
        records: Keys, plans, versions and the ledger.
        orders: Changes what is served.
        deadline_s: Longest time, on the wall clock, an order may take.
        trial_deadline_ms: Model -> when callers of a trial of it get the champion's answer.
        controls: Stops and starts decisions; without it, nobody may.
        delivery: Takes approvals; without it, nobody may approve.
        refusals: Counts what is refused, for the ledger.
    """

    def __init__(
        self,
        records: OperationRecords,
        orders: Orders,
        deadline_s: float,
        trial_deadline_ms: Callable[[str], Awaitable[float]],
        *,
        controls: Controls | None = None,
        delivery: DeliveryOrders | None = None,
        refusals: RefusalLog | None = None,
    ) -> None:
        self._records = records
        self._orders = orders
        self._deadline_s = deadline_s
        self._trial_deadline_ms = trial_deadline_ms
        self._controls = controls
        self._delivery = delivery
        self._refusals = refusals
        self._plans: dict[str, Callable[[Order, str, Any], Awaitable[ServingPlan | None]]] = {
            "load": self._load,
            "unload": lambda order, model, _: orders.undeploy(order, model),
            "promote": lambda order, model, given: orders.promote(order, model, given.version),
            "rollback": lambda order, model, _: orders.rollback(order, model),
            "abort": lambda order, model, _: orders.rollback(order, model, trial_only=True),
            "trial": self._trial,
            "block": lambda order, model, given: orders.block(order, model, given.version),
            "unblock": lambda order, model, given: orders.unblock(order, model, given.version),
            "retire": lambda order, model, given: orders.retire(order, model, given.version),
        }

    def takes(self, path: str) -> bool:
        """Whether a path is an operation's."""
        return path.startswith((_MODELS, _ENVIRONMENTS))

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Carry out what a request asks for.

        Raises:
            Unauthenticated: It shows no valid key, whatever else it is.
            Forbidden: Its key does not cover what it asks for.
            RaymlopsError: It cannot be done; the message says why.
            TimeoutError: It was not done within the deadline; it goes on, and the plan will tell.
        """
        is_model = request.path.startswith(_MODELS)
        prefix, known = (_MODELS, OPERATIONS) if is_model else (_ENVIRONMENTS, ENVIRONMENT_OPERATIONS)
        name, _, action = request.path[len(prefix) :].rstrip("/").rpartition("/")
        target = name if is_model else f"{ENVIRONMENT}{name}"
        access = await self.access()
        key = access.check(request.headers, scope_of(action), target)
        if key is None or not name or "/" in name or action not in known:
            raise NotFoundError(f"there is no {request.path!r}")
        if request.method != "POST":
            return error_reply(405, f"{request.path!r} takes POST, got {request.method}", allow="POST")
        given = parameters_in(action, request.body)
        request_id = check_id(request.headers.get("idempotency-key")) or uuid4().hex
        done = await self.carry_out(access, key, Requested(action, target, given, request_id))
        if isinstance(done, ServingPlan):
            return raw_reply(done.model_dump_json().encode())
        if done is None:
            return json_reply({})
        told = {
            "model" if is_model else "environment": name,
            "order": done.sequence,
            "request": request_id,
            "at": done.at.isoformat(),
        }
        return json_reply({**told, "by": key.described, "reason": done.reason})

    async def access(self) -> Access:
        """The keys as they are in the store now: a key that was just revoked gives no order."""
        return Access(await self._records.keys.list_keys(), refusals=self._refusals)

    async def carry_out(self, access: Access, key: ApiKey, asked: Requested) -> ServingPlan | LedgerEntry | None:
        """Check the right of a key, note in the ledger that it is used, and do what is asked.

        Returns:
            The serving plan that was made, or the entry that records what was done; ``None`` where neither is.

        Raises:
            Forbidden: The key does not cover what is asked.
            StaleWrite: Another plan than the expected one is the newest.
            RaymlopsError: It cannot be done; the message says why.
            TimeoutError: It was not done within the deadline; it goes on, and the plan will tell.
        """
        access.allow(key, scope_of(asked.action), asked.target)
        order = Order(request=asked.request, by=key.described, reason=asked.given.reason)
        if isinstance(asked.given, Parameters):
            limits = {"expected_plan": asked.given.expected_plan, "dry_run": asked.given.dry_run}
            order = order.model_copy(update=limits)
        try:
            async with asyncio.timeout(self._deadline_s):
                if order.dry_run:
                    return await self._plans[asked.action](order, asked.target, asked.given)
                return await self._do(key, order, asked)
        except ConfigError as error:  # a name that is none, as any other error in what was sent
            raise DataError(f"{asked.action}: {error}") from error

    async def preview(self, action: str, model: str, given: Asked) -> ServingPlan:
        """The plan that an order about a model would make; it makes none, and so needs no key.

        Raises:
            DataError: The action makes no plan.
            RaymlopsError: The order could not be carried out; the message says why.
        """
        order = Order(request=uuid4().hex, by="nobody", reason=given.reason, dry_run=True)
        async with asyncio.timeout(self._deadline_s):
            plan = await self._plans[action](order, model, given) if action in self._plans else None
        if plan is None:
            raise DataError(f"{action} makes no serving plan")
        return plan

    async def _do(self, key: ApiKey, order: Order, asked: Requested) -> ServingPlan | LedgerEntry | None:
        if asked.action == "retrain":
            return await self._retrain(order, asked)
        used = await self._note_use(key, order, asked)
        if asked.action in self._plans:
            return await self._plans[asked.action](order, asked.target, asked.given)
        if asked.action == "approve":
            return await self._approve(key, asked)
        return await self._switch(order, asked, used)

    async def _note_use(self, key: ApiKey, order: Order, asked: Requested) -> LedgerEntry:
        parameters = asked.given.model_dump(mode="json", exclude={"reason", "dry_run"}, exclude_none=True)
        evidence = {"asked": asked.action, "parameters": parameters, "key": key.id, "name": key.name, "by": order.by}
        evidence |= {"scope": scope_of(asked.action), "via": asked.via, "request": order.request}
        entry_key = f"{USED}/{asked.target}/{asked.action}/{order.request}"
        used = await self._records.ledger.append_entry(asked.target, USED, order.reason, evidence, key=entry_key)
        return _same(used, evidence)

    async def _retrain(self, order: Order, asked: Requested) -> LedgerEntry:
        """Record an order; the controller, which reads it there, answers it with a run."""
        plan = await self._records.plans.find_plan(asked.target)
        if plan is None or not plan.served:
            raise DeploymentNotFound.of(asked.target)
        told = order.for_retraining(asked.target, asked.via)
        return _same(await self._records.ledger.append_entry(**told), told["evidence"])

    async def _switch(self, order: Order, asked: Requested, used: LedgerEntry) -> LedgerEntry:
        """Pause or resume; an order that was carried out before is not carried out again, whatever came after it."""
        if self._controls is None:
            raise UnavailableError("decisions cannot be paused here: the gateway knows no controller")
        for entry in await self._records.ledger.entries(asked.target, after=used.sequence):
            if entry.action == asked.action and entry.evidence.get("by") == f"{order.by}, {order.request}":
                return entry
        model = None if asked.target == ALL_MODELS else asked.target
        if model is not None and await self._records.plans.find_plan(model) is None:
            raise DeploymentNotFound.of(model)
        switch = self._controls.pause if asked.action == "pause" else self._controls.resume
        return await switch(model, reason=order.reason, by=f"{order.by}, {order.request}")

    async def _approve(self, key: ApiKey, asked: Requested) -> LedgerEntry:
        if self._delivery is None:
            raise UnavailableError("bundles cannot be approved here: the gateway knows no bundles")
        given: Any = asked.given
        environment = asked.target.removeprefix(ENVIRONMENT)
        return await self._delivery.approve(given.bundle, environment, key=key, reason=given.reason)

    async def _load(self, order: Order, model: str, given: Any) -> ServingPlan:
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

    async def _trial(self, order: Order, model: str, given: Any) -> ServingPlan:
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


def _same(entry: LedgerEntry, evidence: Mapping[str, object]) -> LedgerEntry:
    """The entry of an order, where it was made by this order and not by another one of the same name.

    Raises:
        AlreadyRegistered: It was made by another key, or with other parameters: what is done now would not be recorded.
    """
    if entry.evidence != evidence:
        request, by = str(entry.evidence.get("request")), str(entry.evidence.get("by"))
        raise AlreadyRegistered(f"request {request!r} must name one order, and names another one, by {by}")
    return entry
