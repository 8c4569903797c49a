"""One model behind HTTP on a real cluster: errors, versions, swaps under load, killed replicas."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np
import psutil
import pyarrow as pa
import pytest
import requests

from raymlops.errors import InvalidTransition, ModelLoadFailed, NotFoundError
from raymlops.records.plans import Baseline
from raymlops.runtime.supervision.head import processes_of
from raymlops.runtime.supervision.home_note import noted_cluster
from raymlops.serving.answering.router import choose

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

MODEL = "sums"


def _estimator(sign: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(400, 3))
    return LogisticRegression().fit(rows, sign * rows.sum(axis=1) > 0)


@pytest.fixture(scope="module")
def versions(platform: Platform) -> tuple[int, int]:
    example = pa.table({name: [0.1, -0.2] for name in "abc"})
    first, second = (platform.models.register(MODEL, _estimator(sign), example=example).version for sign in (1, -1))
    platform.endpoints.deploy(MODEL, first, replicas=2)
    return first, second


@pytest.fixture
def url(platform: Platform, versions: tuple[int, int]) -> str:
    return f"{platform.url}/v2/models/{MODEL}"


def _infer(rows: list[list[float]]) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "features", "shape": [len(rows), 3], "datatype": "FP64", "data": flat}]}


def test_inference_names_the_version_that_answered(url: str, versions: tuple[int, int]) -> None:
    answer = requests.post(f"{url}/infer", json=_infer([[1.0, 2.0, 3.0]]), timeout=10).json()
    assert answer["model_version"] == str(versions[0])
    assert answer["parameters"]["role"] == "champion"
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["label"] == [True]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/infer", b"{", 400),
        ("/infer", b"", 400),
        ("/infer", b'{"inputs": []}', 400),
        ("/infer", b'{"inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}', 400),
        (
            "/infer",
            b'{"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP64", "data": ["x", 1, 2]}]}',
            400,
        ),
        ("/predict", b'{"instances": [{"a": 1.0}]}', 400),
        ("/predict", b'{"instances": [{"a": 1.0, "b": "text", "c": 2.0}]}', 400),
        ("/labels", b'{"labels": [{"request_id": "x"}]}', 400),
        ("/versions/99/infer", b"{}", 404),
        ("/nothing", b"{}", 404),
    ],
)
def test_what_is_wrong_is_said_and_never_a_500(url: str, path: str, body: bytes, status: int) -> None:
    answer = requests.post(url + path, data=body, timeout=10)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}


def test_an_unknown_model_is_404_on_every_route(platform: Platform, versions: tuple[int, int]) -> None:
    for path in ("", "/ready", "/infer", "/predict", "/plan", "/versions/1"):
        answer = requests.get(f"{platform.url}/v2/models/nobody{path}", timeout=10)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_the_server_says_who_it_is(platform: Platform, versions: tuple[int, int]) -> None:
    assert requests.get(f"{platform.url}/v2", timeout=10).json()["name"] == "raymlops"
    assert requests.get(f"{platform.url}/v2/health/live", timeout=10).json() == {"live": True}
    assert requests.get(f"{platform.url}/v2/health/ready", timeout=10).json() == {"ready": True}
    assert "/v2/models/{model}/infer" in "".join(
        requests.get(f"{platform.url}/openapi.json", timeout=10).json()["paths"]
    )


async def _said(response: aiohttp.ClientResponse) -> Any:
    """The answer, or the text of a HAProxy that is not the platform's own."""
    return await (response.json() if response.content_type == "application/json" else response.text())


async def _ask_until(url: str, done: asyncio.Event, answers: list[tuple[int, Any]], lost: int = 0) -> None:
    """Ask again and again; at most ``lost`` times the connection may be closed in place of an answer."""
    async with aiohttp.ClientSession() as session:
        while not done.is_set():
            try:
                async with session.post(f"{url}/infer", json=_infer([[1.0, 2.0, 3.0]])) as response:
                    answers.append((response.status, await _said(response)))
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError) as error:
                # a connection that was there may be closed or reset, before an answer or amid one; to be refused one is
                # never in order
                if not lost or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                lost -= 1


def test_swaps_under_load_lose_and_mix_nothing(platform: Platform, url: str, versions: tuple[int, int]) -> None:
    answers: list[tuple[int, Any]] = []

    async def load() -> None:
        done = asyncio.Event()
        askers = [asyncio.create_task(_ask_until(url, done, answers)) for _ in range(4)]
        for version in (versions[1], versions[0], versions[1], versions[0]):
            await asyncio.to_thread(platform.endpoints.promote, MODEL, version)
        done.set()
        await asyncio.gather(*askers)

    asyncio.run(load())
    assert {status for status, _ in answers} == {200}
    said = {(a["model_version"], next(o["data"][0] for o in a["outputs"] if o["name"] == "label")) for _, a in answers}
    assert said == {(str(versions[0]), True), (str(versions[1]), False)}


def _ask(url: str, **headers: str) -> tuple[int, str, str]:
    """Status, version and role of one request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = requests.post(f"{url}/infer", json=_infer([[1.0, 2.0, 3.0]]), headers=named, timeout=10)
    document = answer.json() if answer.ok else {}
    return answer.status_code, document.get("model_version", ""), document.get("parameters", {}).get("role", "")


def _becomes(ask: Callable[[], object], wanted: object, deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while (seen := ask()) != wanted:
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)


def test_a_blocked_champion_is_stood_in_for_until_it_is_unblocked(
    platform: Platform, command: Callable[..., Any], url: str, versions: tuple[int, int]
) -> None:
    platform.endpoints.deploy(MODEL, versions[1], replicas=2)
    platform.endpoints.deploy(MODEL, versions[0], replicas=2, baseline=0.25)
    champion, backup = (str(version) for version in versions)
    blocked = command("models", "block", MODEL, champion, "--reason", "a bad audit")
    assert (blocked.returncode, json.loads(blocked.stdout)["blocked"]) == (0, [versions[0]]), blocked.stderr
    assert {_ask(url) for _ in range(8)} == {(200, backup, "backup")}
    platform.endpoints.block(MODEL, versions[1])
    assert {_ask(url) for _ in range(8)} == {(200, champion, "baseline")}
    with pytest.raises(InvalidTransition, match="is blocked"):
        platform.endpoints.promote(MODEL, versions[1])
    assert command("models", "unblock", MODEL, champion).returncode == 0
    assert command("models", "unblock", MODEL, champion).stderr == f"error: version {champion} of sums is not blocked\n"
    plan = platform.endpoints.unblock(MODEL, versions[1])
    assert (plan.blocked, plan.baseline) == ((), Baseline(probability=(0.75, 0.25)))
    assert {_ask(url) for _ in range(8)} == {(200, champion, "champion")}


def test_a_corrupt_model_file_is_refused(platform: Platform, url: str, versions: tuple[int, int]) -> None:
    example = pa.table({name: [0.3, -0.4] for name in "abc"})
    corrupt = platform.models.register(MODEL, _estimator(-1), example=example)
    path = Path(corrupt.path) / "model.skops"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelLoadFailed, match="must have the SHA-256"):
        platform.endpoints.promote(MODEL, corrupt.version)
    first = platform.models.register("corrupt", _estimator(1), example=example)
    (Path(first.path) / "model.skops").write_bytes(b"")
    with pytest.raises(ModelLoadFailed, match="must have the SHA-256"):
        platform.endpoints.deploy("corrupt", first.version)
    with pytest.raises(NotFoundError):
        platform.endpoints.plan("corrupt")
    assert {_ask(url) for _ in range(8)} == {(200, str(versions[0]), "champion")}


def test_who_missed_a_broadcast_serves_the_plan_all_the_same(
    platform: Platform, url: str, versions: tuple[int, int]
) -> None:
    plan = platform.endpoints.plan(MODEL)
    metadata = platform.metadata
    missed = {"number": plan.number + 1, "champion": versions[1], "backup": versions[0]}
    metadata.plans.put_plan(plan.model_copy(update=missed))  # and nobody is told
    _becomes(lambda: {_ask(url)[1] for _ in range(8)}, {str(versions[1])})
    platform.endpoints.promote(MODEL, versions[0])


def test_predictions_go_on_without_metadata_and_controller(
    platform: Platform, url: str, versions: tuple[int, int]
) -> None:
    import ray

    from raymlops.runtime.cluster.clients import NAMESPACE
    from raymlops.runtime.cluster.names import CONTROLLER, METADATA

    actors = [ray.get_actor(name, namespace=NAMESPACE) for name in (METADATA, CONTROLLER)]
    asked = [actor.__ray_call__.remote(lambda _: os.getpid()) for actor in actors]
    control = [psutil.Process(pid) for pid in ray.get(asked, timeout=30)]
    for process in control:
        process.suspend()  # as good as dead, and Ray does not know to start another
    try:
        assert {_ask(url) for _ in range(40)} == {(200, str(versions[0]), "champion")}
    finally:
        for process in control:
            process.kill()
    assert {_ask(url) for _ in range(40)} == {(200, str(versions[0]), "champion")}
    assert platform.endpoints.plan(MODEL).champion == versions[0]


def test_a_caller_keeps_its_variant_and_a_bad_candidate_costs_nobody_an_answer(
    platform: Platform, processes: Callable[[str], list[psutil.Process]], url: str, versions: tuple[int, int]
) -> None:
    """The same on both replicas; then the candidate hangs, dies, and comes back by itself."""
    candidate = platform.models.register(MODEL, _estimator(-1), example=pa.table({name: [0.5] for name in "abc"}))
    variants = {"canary": str(candidate.version), "champion": str(versions[0])}
    keys = [f"caller-{number}" for number in range(16)]
    limits: Any = {"weight": 0.5, "cpus": 0.1, "memory_bytes": 512 << 20, "min_labelled_rows": 10**6}
    plan = platform.endpoints.trial(MODEL, candidate.version, deadline_ms=9_000.0, **limits)
    wanted = {key: (200, variants[choose(plan, key)], choose(plan, key)) for key in keys}
    assert {answer[2] for answer in wanted.values()} == {"canary", "champion"}

    def answers() -> dict[str, tuple[int, str, str]]:
        return {key: _ask(url, X_Sticky_Key=key) for key in keys}

    for _ in range(3):
        assert answers() == wanted
    platform.endpoints.trial(MODEL, candidate.version, deadline_ms=100.0, **limits)
    named = f"candidate-{MODEL}-{candidate.version}"
    process = processes(named)[0]
    assert process.rlimit(psutil.RLIMIT_DATA)[0] < 8 << 30
    process.suspend()
    assert set(answers().values()) == {(200, str(versions[0]), "champion")}
    process.kill()
    assert {answer[0] for answer in answers().values()} == {200}
    _becomes(lambda: [one.pid for one in processes(named)] not in ([], [process.pid]), True)
    platform.endpoints.trial(MODEL, candidate.version, deadline_ms=9_000.0, **limits)
    _becomes(answers, wanted)
    platform.endpoints.rollback(MODEL)


def _is_foreign(platform: Platform) -> bool:
    note = noted_cluster(platform.config.home)
    assert note is not None
    return note.foreign


def _haproxies(platform: Platform) -> list[psutil.Process]:
    if _is_foreign(platform):
        pytest.skip("HAProxy of a cluster of somebody else is theirs")
    note = noted_cluster(platform.config.home)
    assert note is not None
    return [process for process in processes_of(note) if process.name() == "haproxy"]


def test_only_the_http_port_could_be_reached_from_elsewhere(platform: Platform, url: str) -> None:
    """Ray binds HAProxy's metrics and statistics to all interfaces, at the start and at each reload."""
    proxies = _haproxies(platform)
    assert proxies
    bound = {one.laddr.ip for proxy in proxies for one in proxy.net_connections("inet") if one.status == "LISTEN"}
    assert bound == {"127.0.0.1"}


@pytest.mark.slow  # tests/e2e/test_chaos.py kills one
def test_a_replica_killed_under_load_fails_what_it_had_in_flight_and_comes_back(
    platform: Platform, processes: Callable[[str], list[psutil.Process]], url: str, versions: tuple[int, int]
) -> None:
    def replicas() -> list[psutil.Process]:
        return processes(f"model-{MODEL}")

    plan = platform.endpoints.promote(MODEL, versions[1])
    answers: list[tuple[int, Any]] = []
    askers = 4

    async def load() -> None:
        done = asyncio.Event()
        # HAProxy says nothing where it had used the replica's connection before, and closes idle ones when it reloads
        asking = [asyncio.create_task(_ask_until(url, done, answers, lost=2)) for _ in range(askers)]
        await asyncio.to_thread(_becomes, lambda: len(answers) > 50, True)
        victim = replicas()[0]
        os.kill(victim.pid, signal.SIGKILL)
        await asyncio.to_thread(_becomes, lambda: len([one for one in replicas() if one.pid != victim.pid]), 2)
        seen = len(answers)
        await asyncio.to_thread(_becomes, lambda: len(answers) > seen + 200, True)
        done.set()
        await asyncio.gather(*asking)

    asyncio.run(load())
    good = [answer for status, answer in answers if status == 200]
    assert len(answers) - len(good) <= askers
    if not _is_foreign(platform):  # whose HAProxy says 500, in words of its own
        assert {status for status, _ in answers} <= {200, 503}
        assert all(answer.keys() == {"error"} for status, answer in answers if status != 200)
    assert {answer["model_version"] for answer in good} == {str(plan.champion)}
    platform.endpoints.flush(MODEL)  # reaches every replica that runs


@pytest.mark.slow  # tests/e2e/test_chaos.py kills HAProxy, tests/contract/test_front_door.py what starts it
def test_the_death_of_haproxy_and_of_what_starts_it_is_not_noticed(
    platform: Platform, url: str, versions: tuple[int, int]
) -> None:
    """Ray takes half a minute to start HAProxy again, and begins with a configuration that knows no model."""
    answers: list[tuple[int, Any]] = []
    door = Path(_haproxies(platform)[0].cmdline()[0]).with_name("door.json")

    def victim(of: str) -> int:
        newest, keeper = (json.loads(door.read_text())[name] for name in ("newest", "keeper"))
        return {"haproxy": newest, "keeper": keeper, "manager": _manager(newest)}[of]

    def ray_has_it() -> bool:
        note = json.loads(door.read_text())
        return len(note["running"]) == 1 and bool(_manager(note["newest"]))

    async def load() -> None:
        done = asyncio.Event()
        # what HAProxy had in hand, or an idle connection, is closed with it
        asking = [asyncio.create_task(_ask_until(url, done, answers, lost=8)) for _ in range(4)]
        for of in ("haproxy", "manager", "keeper"):
            await asyncio.to_thread(_becomes, ray_has_it, True)
            pid = victim(of)
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(_becomes, lambda pid=pid: psutil.pid_exists(pid), False)
            seen = len(answers)
            await asyncio.to_thread(_becomes, lambda seen=seen: len(answers) > seen + 200, True)
        await asyncio.to_thread(_becomes, ray_has_it, True)
        done.set()
        await asyncio.gather(*asking)

    asyncio.run(load())
    assert {status for status, _ in answers} == {200}


def _manager(haproxy: int) -> int:
    """Ray's manager of a HAProxy; 0 where Ray did not start it."""
    try:
        parent = psutil.Process(haproxy).parent()
        return parent.pid if parent is not None and "HAProxyManager" in " ".join(parent.cmdline()) else 0
    except psutil.NoSuchProcess:
        return 0


def test_serve_is_told_when_to_add_replicas(platform: Platform) -> None:
    from raymlops.config.serving import AutoscalingConfig
    from raymlops.runtime.serve.replica import model_application

    serving = platform.config.serving.model_copy(update={"autoscaling": AutoscalingConfig(max_replicas=4)})
    config = platform.config.model_copy(update={"serving": serving})
    for replicas, most in ((1, 4), (6, 6)):
        scaled = model_application(config, MODEL, replicas)._bound_deployment._deployment_config.autoscaling_config
        assert (scaled.min_replicas, scaled.max_replicas, scaled.target_ongoing_requests) == (replicas, most, 16.0)
    fixed = model_application(platform.config, MODEL, 2)._bound_deployment
    assert (fixed._deployment_config.autoscaling_config, fixed.num_replicas) == (None, 2)


def test_serve_knows_the_header_that_says_callers_are_not_watched() -> None:
    from ray.serve._private.http_util import parse_disconnect_disabled_header

    from raymlops.runtime.serve.http_middleware import UNWATCHED

    assert parse_disconnect_disabled_header(dict([UNWATCHED]))


def test_a_replica_answers_past_serve_which_keeps_its_own_paths(platform: Platform, url: str) -> None:
    marked = "x-request-id"  # Serve's mark on what went through it
    answer = requests.post(f"{url}/infer", json=_infer([[1.0, 2.0, 3.0]]), timeout=10)
    assert (answer.status_code, marked in answer.headers) == (200, False)
    assert marked in requests.get(f"{platform.url}/v2", timeout=10).headers
    assert requests.get(f"{platform.url}/-/healthz", timeout=10).status_code == 200


def test_a_graceful_stop_loses_no_event(platform: Platform, url: str) -> None:
    """The last test of the model: its endpoint is gone afterwards."""
    from ray import serve

    from raymlops.monitoring.events.event_tables import DeltaEventTables

    ids = [f"last-{number}" for number in range(100)]
    with requests.Session() as caller:
        for request_id in ids:
            body = {**_infer([[1.0, 2.0, 3.0]]), "id": request_id}
            assert caller.post(f"{url}/infer", json=body, timeout=10).status_code == 200
    platform.endpoints.undeploy(MODEL)
    _becomes(lambda: f"model-{MODEL}" in serve.status().applications, False)
    events = DeltaEventTables(platform.config.home / "monitor").read(f"predictions/{MODEL}", None, None, "served_at")
    kept = [request_id for request_id in events["request_id"].to_pylist() if request_id.startswith("last-")]
    assert sorted(kept) == sorted(ids)
