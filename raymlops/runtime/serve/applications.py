"""The applications of this cluster, as Serve and their replicas report them. Every call here has a deadline."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import ray
from ray import serve
from ray.exceptions import GetTimeoutError, RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.util.state.exception import RayStateApiException

from raymlops.config.platform import PlatformConfig
from raymlops.config.serving import local_address
from raymlops.control.reconciling.reconcile import (
    CANDIDATE,
    ENDPOINT,
    POOL,
    Observed,
    Phase,
    Wanted,
    is_ours,
)
from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.records.serving.endpoints import Hosting
from raymlops.runtime.cluster.deadlines import within
from raymlops.runtime.cluster.free_cpus import describe_cpus, free_by_node
from raymlops.runtime.cluster.names import SHAPE_VARIABLE

__all__ = ["Applications", "Builders"]

logging.getLogger("ray.serve").setLevel(logging.ERROR)
"""Operators of endpoints get the failures in the log, and not a line for every application."""

_log = logging.getLogger(__name__)
_CALL_S = 20.0
"""Deadline of a call to Serve's controller."""
_ASK_S = 3.0
"""Deadline of what replicas, and the front door, are asked at every look."""
_AT_ONCE = 8
_DESCRIBING = threading.Lock()
"""Serve pickles a module by value while a deployment is described, and takes it ill where two threads do so at once."""
_PHASES = {
    "DEPLOYING": Phase.STARTING,
    "NOT_STARTED": Phase.STARTING,
    "RUNNING": Phase.RUNNING,
    "UNHEALTHY": Phase.UNHEALTHY,
    "DEPLOY_FAILED": Phase.FAILED,
    "DELETING": Phase.REMOVING,
}
_ANSWERED = {200, 401, 403, 429}
"""Statuses of an endpoint that can answer: ready, a key is missing or does not suffice, too many requests."""


class Builders(NamedTuple):
    """Builders of applications for Serve: each stands in the module of its replicas."""

    model: Callable[..., serve.Application]
    candidate: Callable[..., serve.Application]
    pool: Callable[..., serve.Application]

    def application(self, config: PlatformConfig, wanted: Wanted) -> serve.Application:
        """The application that the reconciler wants: the pool, a model's endpoint or a candidate."""
        if wanted.pooled:
            return self.pool(config, shape=wanted.shape)
        if wanted.trial is None:
            return self.model(config, wanted.model, wanted.replicas, shape=wanted.shape)
        return self.candidate(config, wanted.model, wanted.trial, shape=wanted.shape)


class Applications:
    """Shows and changes what Serve runs. Thread-safe.

    Args:
        config: The platform's configuration.
        builders: Describe to Serve what is wanted.
    """

    def __init__(self, config: PlatformConfig, builders: Builders) -> None:
        self._config = config
        self._builders = builders
        self._asking = ThreadPoolExecutor(_AT_ONCE, "asking")

    def look(self) -> list[Observed] | None:
        """All applications, ours with what their replicas answer; ``None`` where Serve does not run (yet).

        Raises:
            UnavailableError: Serve's controller does not answer.
        """
        details = within(_CALL_S, "asking Serve for its applications", self._details)
        if details is None:
            return None
        found = [_observed(name, told) for name, told in details["applications"].items()]
        host, port = _front_door(details["http_options"])
        return list(self._asking.map(lambda one: self._asked(one, host, port), found))

    def start(self, wanted: Wanted) -> None:
        """Have Serve run it; returns once Serve knows.

        Raises:
            UnavailableError: Serve does not answer.
            RayServeException: Serve refuses it.
        """
        within(2 * _CALL_S, f"asking Serve to run {wanted.name}", lambda: self._start(wanted))

    def _start(self, wanted: Wanted) -> None:
        if not _DESCRIBING.acquire(timeout=_CALL_S):
            raise UnavailableError(f"Serve was asked to run another application, and is not done after {_CALL_S:g} s")
        try:
            prefix = None if wanted.trial is not None else f"/v2/models/{wanted.model}"
            if wanted.pooled:
                prefix = "/v2/models"
            application = self._builders.application(self._config, wanted)
            target = serve.RunTarget(application, name=wanted.name, route_prefix=prefix)
            serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        finally:
            _DESCRIBING.release()

    def remove(self, name: str) -> None:
        """Have Serve remove it; returns once Serve was told."""
        within(_CALL_S, f"asking Serve to remove {name}", lambda: serve.delete(name, _blocking=False))

    def free_cpus(self) -> Mapping[str, float]:
        """Node -> free logical CPUs."""
        return within(_CALL_S, "asking for free CPUs", free_by_node)

    def holders(self) -> str:
        """Holders of CPUs, and the number of free ones, in words."""
        try:
            return within(_CALL_S, "asking who holds CPUs", describe_cpus)
        except (RuntimeError, OSError, RayError, RaymlopsError, RayStateApiException) as error:
            return f"who holds the others cannot be said: {type(error).__name__}"

    def _details(self) -> Mapping[str, Any] | None:
        client: Any = _get_global_client(raise_if_no_controller_running=False)
        if client is None:
            return None
        try:
            told: Mapping[str, Any] = ray.get(client._controller.get_serve_instance_details.remote(), timeout=_CALL_S)
        except (GetTimeoutError, RayError) as error:
            raise UnavailableError(f"Serve's controller does not answer: {type(error).__name__}") from error
        return told

    def _asked(self, found: Observed, host: str, port: int) -> Observed:
        """Reports of its replicas, and of the HTTP port for it."""
        if not is_ours(found) or found.phase is Phase.REMOVING or not found.running:
            return found
        said = self._replicas_say(found)
        if found.deployments == (POOL,):
            hosted: dict[str, tuple[Hosting, ...]] = {}
            for told in said:
                for model, hosting in told.items():
                    hosted[model] = (*hosted.get(model, ()), hosting)
            # one that can answer is asked: whether callers reach the pool is the same for all
            answers = [(any(one.leaves for one in each), model) for model, each in hosted.items() if _able(each)]
            able = min(answers, default=(False, None))[1]
            reply = "no model of the pool can answer" if able is None else _ask(host, port, able)
            return replace(found, hosted=hosted, reply=reply)
        plans = tuple(one for one in said if isinstance(one, int))
        if found.deployments != (ENDPOINT,):
            return replace(found, plans=plans)
        return replace(found, plans=plans, reply=_ask(host, port, found.name.removeprefix("model-")))

    def _replicas_say(self, found: Observed) -> list[Any]:
        try:
            return within(_ASK_S + 1.0, f"asking replicas of {found.name}", lambda: _broadcast(found))
        except (RaymlopsError, RayError, RayServeException, TimeoutError) as error:
            _log.debug("%s does not answer: %r", found.name, error)
            return []


def _able(each: Sequence[Hosting]) -> bool:
    return any(one.plan for one in each)


def _broadcast(found: Observed) -> list[Any]:
    (deployment,) = found.deployments
    handle: Any = serve.get_deployment_handle(deployment, found.name, _check_exists=False)
    said = handle.broadcast("serves").results(timeout_s=_ASK_S, return_exceptions=True)
    return [one for one in said if not isinstance(one, Exception)]


def _observed(name: str, told: Mapping[str, Any]) -> Observed:
    """One application, as Serve reports it."""
    deployments: Mapping[str, Any] = told["deployments"]
    states = [one["state"] for each in deployments.values() for one in each["replicas"]]
    messages = [told["message"], *(each["message"] for each in deployments.values())]
    return Observed(
        name=name,
        phase=_PHASES.get(told["status"], Phase.STARTING),
        deployments=tuple(deployments),
        shape=_shape(deployments.values()),
        running=states.count("RUNNING"),
        message=next((" ".join(text.split()) for text in messages if text), "")[-500:],
        age_s=max(time.time() - told["last_deployed_time_s"], 0.0),
    )


def _shape(deployments: Sequence[Any] | Any) -> str | None:
    for each in deployments:
        if each["name"] not in (ENDPOINT, CANDIDATE, POOL):
            continue
        options = each["deployment_config"].get("ray_actor_options") or {}
        shape = ((options.get("runtime_env") or {}).get("env_vars") or {}).get(SHAPE_VARIABLE)
        if shape is not None:
            return str(shape)
    return None


def _front_door(options: Mapping[str, Any]) -> tuple[str, int]:
    """The HTTP address for callers of this node."""
    return local_address(str(options.get("host") or "127.0.0.1")), int(options.get("port") or 8000)


def _ask(host: str, port: int, model: str) -> str | None:
    """The answer of the HTTP port to a readiness request for a model; ``None`` where it is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=_ASK_S)
    try:
        connection.request("GET", f"/v2/models/{quote(model, safe='')}/ready")
        reply = connection.getresponse()
        body = reply.read(4096)
    except (OSError, http.client.HTTPException) as error:
        return f"{host}:{port} does not answer: {error or type(error).__name__}"
    finally:
        connection.close()
    if reply.status in _ANSWERED:
        return None
    try:
        text = str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = body.decode("latin-1")[:200]
    return f"{reply.status}: {text}"
