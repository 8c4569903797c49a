"""The orders that people give a platform: their parameters, the rights they need, and who carries them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raymlops.errors import DataError
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.serving.keys import ApiKey, Scope
from raymlops.records.serving.orders import Order

__all__ = [
    "ENVIRONMENT_OPERATIONS",
    "OPERATIONS",
    "Asked",
    "Controls",
    "DeliveryOrders",
    "OperationRecords",
    "Orders",
    "Parameters",
    "operation_schema",
    "parameters_in",
    "parameters_of",
    "scope_of",
]

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

    async def entries(self, subject: str | None = None, after: int = 0) -> Sequence[LedgerEntry]:
        """Entries after a sequence number, in order."""
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

    async def rollback(self, order: Order, name: str, *, trial_only: bool = False) -> ServingPlan: ...

    async def block(self, order: Order, name: str, version: int) -> ServingPlan: ...

    async def unblock(self, order: Order, name: str, version: int) -> ServingPlan: ...

    async def undeploy(self, order: Order, name: str) -> ServingPlan: ...

    async def retire(self, order: Order, name: str, version: int) -> None: ...


class Controls(Protocol):
    """Stops and starts the decisions about a model; the controller is one."""

    async def pause(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry: ...

    async def resume(self, model: str | None = None, *, reason: str, by: str = "") -> LedgerEntry: ...


class DeliveryOrders(Protocol):
    """Carries out what is asked about bundles."""

    async def approve(self, bundle: str, environment: str, *, key: ApiKey, reason: str) -> LedgerEntry: ...


class Asked(BaseModel):
    """The parameters of an order."""

    # strict: nobody promotes version 1 by `true`
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    reason: str = Field("over HTTP", max_length=500)


class Parameters(Asked):
    """The parameters of an order that makes a serving plan."""

    expected_plan: int | None = Field(None, ge=0)
    """The order is refused where another plan than this one is the newest; 0: where there is any."""
    dry_run: bool = False
    """Answer with the plan that would be made, and make none."""


class _OfVersion(Parameters):
    version: int = Field(ge=1)


class _Load(Parameters):
    version: int | None = Field(None, ge=1)
    features: str | None = Field(None, min_length=1)
    replicas: int | None = Field(None, ge=1, le=1000)
    pooled: bool | None = None


class _Unload(Parameters):
    unload_dependents: bool = False


class _Trial(_OfVersion):
    mode: Literal["canary", "shadow"] = "canary"
    weight: float = Field(0.1, ge=0, le=1)
    min_labelled_rows: int | None = Field(None, ge=0)


class _OfBundle(Asked):
    bundle: str = Field(pattern=r"^[0-9a-f]{64}$")


OPERATIONS: dict[str, tuple[type[Asked], str]] = {
    "load": (_Load, "Serve a version as champion; left out, the one served last, or the newest"),
    "unload": (_Unload, "Serve the model no more"),
    "promote": (_OfVersion, "Make a version the champion"),
    "rollback": (Parameters, "End the trial; without one, put the backup back"),
    "abort": (Parameters, "End the trial; without one, refuse"),
    "trial": (_Trial, "Put a version on trial beside the champion"),
    "block": (_OfVersion, "Have a version answer nobody"),
    "unblock": (_OfVersion, "Let a blocked version answer again"),
    "retire": (_OfVersion, "See to it that a version is never served again"),
    "retrain": (Asked, "Ask the controller for a retraining"),
    "pause": (Asked, "Stop deciding about the model, or about all by the name *"),
    "resume": (Asked, "Decide about the model again, or about all by the name *"),
}
"""Action about a model -> its parameters, and what it does."""

ENVIRONMENT_OPERATIONS: dict[str, tuple[type[Asked], str]] = {
    "approve": (_OfBundle, "Approve a bundle for the environment, in the name of the key"),
}
"""Action about an environment -> its parameters, and what it does."""


def scope_of(action: str) -> Scope:
    """What a key must cover for an action."""
    return "trigger" if action == "retrain" else "operate"


def operation_schema(action: str) -> dict[str, Any]:
    """The JSON schema of an action's parameters."""
    return _described(action)[0].model_json_schema()


def parameters_of(action: str, told: Mapping[str, Any]) -> Asked:
    """The parameters of an action, as they were told.

    Raises:
        DataError: They do not fit the action; the message says which.
    """
    try:
        return _described(action)[0].model_validate(dict(told))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "parameters"
        raise DataError(f"{action}: {where}: {first['msg']}, got {first['input']!r}") from error


def parameters_in(action: str, body: bytes) -> Asked:
    """The parameters of an action in the body of a request; raises as ``parameters_of`` does."""
    if len(body) > _MAX_BODY_BYTES:
        raise DataError(f"the body must have at most {_MAX_BODY_BYTES} bytes, got {len(body)}")
    try:
        told = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise DataError(f"the body must be JSON: {error}") from error
    unknown = sorted(set(told) - {"parameters"}) if isinstance(told, dict) else ["not an object"]
    if unknown:
        raise DataError(f'the body must be {{"parameters": {{...}}}}, got {", ".join(unknown)}')
    parameters = {} if told.get("parameters") is None else told["parameters"]
    if not isinstance(parameters, dict):
        raise DataError(f"{action}: parameters: Input should be a valid dictionary, got {parameters!r}")
    return parameters_of(action, parameters)


def _described(action: str) -> tuple[type[Asked], str]:
    return OPERATIONS[action] if action in OPERATIONS else ENVIRONMENT_OPERATIONS[action]
