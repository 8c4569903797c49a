"""Remote actors, seen as the Protocols they implement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorUnschedulableError, GetTimeoutError, RayActorError, RayError, RayTaskError

from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.flavors.guard import in_one_line
from raymlops.metadata.stores import Metadata
from raymlops.runtime.cluster.names import METADATA, PROJECTOR

__all__ = ["NAMESPACE", "ActorProxy", "AsyncActorProxy", "Parts", "domain_error", "metadata_stores", "wake_projector"]

_log = logging.getLogger(__name__)

NAMESPACE = "raymlops"
"""Ray namespace of all control actors."""


def _handle_of(name: str) -> ActorHandle:
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError as error:
        raise UnavailableError(f"the {name} actor is not running: start the platform with `raymlops up`") from error


def _remote(handle: ActorHandle, part: str | None, method: str) -> Callable[..., Any]:
    """The function that starts a call of an actor's method, or of a method of one of its parts."""
    if part is None:
        return cast("Callable[..., Any]", getattr(handle, method).remote)
    return partial(handle.call_part.remote, part, method)


def domain_error(error: RayTaskError) -> BaseException:
    """The error as the actor or task raised it; Ray's own wrapper, with the traceback, where it is not one of ours.

    One of ours says in one line what is wrong; where it was raised, the debug log tells.
    """
    cause = error.cause
    raised: BaseException = cause if isinstance(cause, RaymlopsError) else error
    _log.debug("raised on the cluster: %s", error)
    return raised


def task_result(reference: ray.ObjectRef, what: str, timeout_s: float | None = None) -> Any:
    """The result of a task.

    Args:
        reference: Of the task.
        what: The task, as the subject of a sentence: ``a fit of the laboratory``.
        timeout_s: How long to wait for it.

    Raises:
        RaymlopsError: The task raised it.
        UnavailableError: It raised something else, was lost, or did not end in time.
    """
    try:
        return ray.get(reference, timeout=timeout_s)
    except RayTaskError as error:
        raised = domain_error(error)
        if isinstance(raised, RaymlopsError):
            raise raised from error
        raise UnavailableError(f"{what} failed: {in_one_line(error.cause or error)}") from error
    except RayError as error:
        raise UnavailableError(f"{what} was lost: {in_one_line(error)}") from error


class Parts:
    """An actor that is called by its parts: each is an object with methods of its own, which proxies reach.

    Attributes:
        parts: Name -> the object.
    """

    parts: Mapping[str, object]

    def call_part(self, part: str, method: str, *args: object, **kwargs: object) -> Any:
        """Call a method of a part."""
        return getattr(self.parts[part], method)(*args, **kwargs)


class ActorProxy:
    """Forwards method calls to a named actor, or to a part of it, and waits for the answers.

    An actor that died is restarted by Ray, which sends the calls in flight again: every method of a control actor is
    idempotent. Cast it to the Protocol it stands for. Thread-safe; pickles by the actor's name.

    Args:
        name: The actor's name in ``NAMESPACE``.
        timeout_s: Deadline of one call, restarts included.
        part: The part of an actor of ``Parts`` that is called; left out, the actor itself.

    Raises:
        UnavailableError: There is no such actor, or it did not answer before the deadline.
    """

    def __init__(self, name: str, timeout_s: float = 60.0, part: str | None = None) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._part = part
        self._handle = _handle_of(name)

    def __reduce__(self) -> tuple[object, ...]:
        return (ActorProxy, (self._name, self._timeout_s, self._part))

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)
        remote = _remote(self._handle, self._part, method)

        def call(*args: object, **kwargs: object) -> Any:
            try:
                return ray.get(remote(*args, **kwargs), timeout=self._timeout_s)
            except GetTimeoutError as error:
                message = f"the {self._name} actor did not answer {method} within {self._timeout_s:g} s"
                raise UnavailableError(message) from error
            except (RayActorError, ActorUnschedulableError) as error:
                raise UnavailableError(f"the {self._name} actor died during {method}: {error}") from error
            except RayTaskError as error:
                raised = domain_error(error)
            raise raised

        return call


class AsyncActorProxy:
    """``ActorProxy`` for an event loop: methods are awaited, nothing blocks.

    The handle is looked up at each use where the last call failed, so that a proxy outlives its actor.
    """

    def __init__(self, name: str, timeout_s: float = 60.0, part: str | None = None) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._part = part
        self._handle: ActorHandle | None = None
        self._finding: asyncio.Task[ActorHandle] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return (AsyncActorProxy, (self._name, self._timeout_s, self._part))

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*args: object, **kwargs: object) -> Any:
            try:
                async with asyncio.timeout(self._timeout_s) as limit:
                    handle = self._handle or await self._find()
                    return await _remote(handle, self._part, method)(*args, **kwargs)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                message = f"the {self._name} actor did not answer {method} within {self._timeout_s:g} s"
                raise UnavailableError(message) from error
            except RayActorError as error:
                self._handle = None
                raise UnavailableError(f"the {self._name} actor died during {method}: {error}") from error
            except RayTaskError as error:
                raised = domain_error(error)
            raise raised

        return call

    async def _find(self) -> ActorHandle:
        """The actor's handle. The look-up asks Ray and may hang, so that one thread does it for all callers."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(asyncio.to_thread(_handle_of, self._name))
        self._handle = await asyncio.shield(self._finding)
        return self._handle


def metadata_stores(timeout_s: float = 60.0, kind: Callable[..., Any] = ActorProxy) -> Metadata:
    """The stores of the metadata actor; those of ``AsyncActorProxy`` are awaited.

    Raises:
        UnavailableError: There is no such actor.
    """
    return Metadata(**{store.name: kind(METADATA, timeout_s, store.name) for store in fields(Metadata)})


def wake_projector() -> None:
    """Have MLflow brought up to date, some time soon; nothing where there is no projector."""
    try:
        projector = ray.get_actor(PROJECTOR, namespace=NAMESPACE)
    except ValueError:
        return
    projector.wake.remote()
