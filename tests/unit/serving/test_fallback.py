"""Champion, backup, baseline: who answers when, and how a version that failed comes back by itself."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from raymlops.config.serving import BreakerConfig, ServingConfig
from raymlops.errors import DataError
from raymlops.records.models import ModelManifest
from raymlops.records.plans import Baseline, Trial
from raymlops.serving import HttpReply, Model

pytestmark = pytest.mark.asyncio

BREAKER = BreakerConfig.model_validate({"failures": 3, "probe_after": "10ms", "probe_after_max": "20ms"})
NEVER = BreakerConfig.model_validate({"failures": 3, "probe_after": "1h", "probe_after_max": "1h"})
BASELINE = Baseline(probability=(0.75, 0.25))


class Moody:
    """A model of this process that can be broken and mended."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.schema, self.signature = model.schema, model.signature
        self.error: Exception | None = None
        self.calls = 0

    def encode(self, columns: Any) -> Any:
        return self._model.encode(columns)

    def stack(self, encoded: Any) -> Any:
        return self._model.stack(encoded)

    def score(self, encoded: Any) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self._model.score(encoded)

    def predict(self, columns: Any) -> Any:
        return self.score(self.encode(columns))

    def importances(self) -> dict[str, float]:
        return {}


def put_moody(service: Any, version: int) -> Moody:
    """Serve a version that can be broken."""
    serving = service.endpoint.slot.current
    moody = Moody(serving.versions[version].model)
    loaded = replace(serving.versions[version], model=moody)
    role = "champion" if version == serving.champion.version else "backup"
    versions = MappingProxyType({**serving.versions, version: loaded})
    service.endpoint.slot.current = replace(serving, versions=versions, **{role: loaded})
    return moody


def role_of(reply: HttpReply) -> tuple[str, str]:
    assert reply.status == 200, reply.body
    document = orjson.loads(reply.body)
    return document["model_version"], document["parameters"]["role"]


async def becomes(ask: Callable[[], Any], wanted: object) -> None:
    """Ask until the answer is the wanted one."""
    deadline = time.monotonic() + 10
    while (seen := await ask()) != wanted:
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.005)


async def events_of(service: Any) -> list[dict[str, Any]]:
    await service.endpoint.flush()
    rows: list[dict[str, Any]] = service.sink.rows
    return rows


async def test_an_open_breaker_spares_the_champion_until_its_probe_passes(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": BREAKER}))
    service.serve(1, 1, backup=2)
    moody = put_moody(service, 1)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")
    moody.error = ValueError("worn out")
    for _ in range(3):
        assert role_of(await service.post("/infer", helpers.matrix_body())) == ("2", "backup")
    calls = moody.calls
    for _ in range(5):
        assert role_of(await service.post("/infer", helpers.matrix_body())) == ("2", "backup")
    assert moody.calls == calls
    assert service.endpoint.stats.breakers == {1: "open", 2: "closed"}
    service.endpoint.start()
    await becomes(lambda: asyncio.sleep(0, moody.calls > calls + 2), True)  # probes fail, and are made again
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("2", "backup")
    moody.error = None

    async def answers() -> tuple[str, str]:
        return role_of(await service.post("/infer", helpers.matrix_body()))

    await becomes(answers, ("1", "champion"))
    assert service.endpoint.stats.breakers == {1: "closed", 2: "closed"}
    fallbacks = [event["fallback"] for event in await events_of(service)]
    assert fallbacks[1] == "champion 1: ValueError: worn out"
    assert fallbacks[4] == "champion 1: not asked after 3 failures in a row, the last one ValueError: worn out"
    assert fallbacks[-1] is None
    await service.endpoint.stop()


class Choosy:
    """Has a model raise at rows that hold one value."""

    def __init__(self, moody: Moody, value: float = 12345.0) -> None:
        self.raises = True
        healthy = moody.score

        def score(encoded: Any) -> Any:
            if self.raises and (encoded == value).any():
                raise ValueError("no such distance")
            return healthy(encoded)

        moody.score = score  # type: ignore[method-assign]


def poison(helpers: Any) -> Any:
    return helpers.matrix_body(rows=((12345.0, 8.0, 5.0, 0.0),))


async def test_the_probe_asks_what_was_asked_lately(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    """Rows that the champion answered lately, and cannot answer any more, keep it out."""
    service = make_service(config.model_copy(update={"breaker": BREAKER}))
    service.serve(1, 1, backup=2)
    choosy = Choosy(put_moody(service, 1))
    choosy.raises = False
    assert role_of(await service.post("/infer", poison(helpers))) == ("1", "champion")
    choosy.raises = True
    for _ in range(3):
        assert role_of(await service.post("/infer", poison(helpers))) == ("2", "backup")
    service.endpoint.start()

    async def why() -> bool:
        reason = service.endpoint._breakers.of(1).reason
        return reason is not None and reason.startswith("probe failed: recorded request 1 of ")

    await becomes(why, True)
    await service.endpoint.stop()


async def test_rows_that_a_sound_model_does_not_take_are_the_callers_fault(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, baseline=BASELINE)
    Choosy(put_moody(service, 1))
    for _ in range(8):
        reply = await service.post("/infer", poison(helpers))
        assert reply.status == 400
        assert b"the model takes no such rows: ValueError: no such distance" in reply.body
        assert (await service.post("/versions/1/infer", poison(helpers))).status == 400
        assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")
    assert service.endpoint.stats.breakers == {1: "closed"}
    assert {event["error"] for event in await events_of(service)} == {None}


async def test_rows_that_only_the_backup_takes_are_its_to_answer_and_nobody_is_blamed(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, backup=2)
    Choosy(put_moody(service, 1))
    for _ in range(8):
        assert role_of(await service.post("/infer", poison(helpers))) == ("2", "backup")
        service.endpoint._recorded._next_ns = 0  # each may be kept
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")
    assert service.endpoint.stats.breakers == {1: "closed", 2: "closed"}
    assert all((columns["distance"] != 12345.0).all() for columns in service.endpoint._recorded.sample())


async def test_an_answer_of_nan_is_the_callers_fault_where_others_get_numbers(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1)
    moody = put_moody(service, 1)
    healthy = moody.score

    def score(encoded: Any) -> Any:
        outputs = healthy(encoded)
        outputs["probability"][(encoded == 12345.0).any(axis=1)] = float("nan")
        return outputs

    moody.score = score  # type: ignore[method-assign]
    for _ in range(4):
        reply = await service.post("/infer", poison(helpers))
        assert (reply.status, b"NaN or infinity" in reply.body) == (400, True)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")


@pytest.mark.parametrize(
    ("instance", "status"),
    [
        ({"origin": "JFK", "distance": 12345.0, "hour": 8}, 400),
        ({"origin": "ODD", "distance": 500.0, "hour": 8}, 503),
    ],
)
async def test_a_feature_that_the_model_does_not_take_is_not_the_callers_fault(
    make_service: Callable[..., Any], config: ServingConfig, instance: Any, status: int
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1)
    service.online.rows["ODD"] = [12345.0, 0.5]
    Choosy(put_moody(service, 1))
    for _ in range(3):
        assert (await service.post("/predict", {"instances": [instance]})).status == status
    assert service.endpoint.stats.breakers == {1: "closed" if status == 400 else "open"}


async def test_a_candidate_is_not_blamed_for_rows_that_the_champion_does_not_take_either(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    def choke(columns: Any) -> Any:
        raise ValueError("no such distance")

    for mode in ("canary", "shadow"):
        service = make_service(config.model_copy(update={"breaker": NEVER}))
        service.serve(1, 1, trial=Trial(version=3, mode=mode, weight=1.0))
        Choosy(put_moody(service, 1))
        service.candidate.behave = choke
        for _ in range(4):
            assert (await service.post("/infer", poison(helpers))).status == 400
        assert await events_of(service) == []
        assert service.endpoint.stats.breakers in ({1: "closed"}, {1: "closed", 3: "closed"})


async def test_an_input_out_of_range_opens_nothing(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, backup=2)
    for _ in range(5):
        reply = await service.post("/infer", helpers.matrix_body(rows=((1e300, 8.0, 5.0, 0.0),)))
        assert reply.status == 400
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")


async def test_the_callers_fault_is_said_also_where_the_champion_is_not_asked(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, backup=2, blocked=(1,))
    reply = await service.post("/infer", helpers.matrix_body(rows=((1e300, 8.0, 5.0, 0.0),)))
    assert reply.status == 400
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("2", "backup")


async def test_a_named_version_is_asked_whatever_its_breaker_says_but_not_where_it_is_blocked(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, backup=2)
    service.endpoint._breakers.trip(1, "tried")
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("2", "backup")
    assert role_of(await service.post("/versions/1/infer", helpers.matrix_body())) == ("1", "champion")
    service.serve(2, 1, backup=2, blocked=(1,))
    assert (await service.post("/versions/1/infer", helpers.matrix_body())).status == 503
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("2", "backup")


async def test_the_baseline_answers_where_no_version_can(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, backup=2, baseline=BASELINE)
    for version in (1, 2):
        put_moody(service, version).error = ValueError("worn out")
    reply = await service.post("/infer", helpers.matrix_body(rows=((500.0, 8.0, 5.0, 0.0),) * 3, id="r"))
    assert role_of(reply) == ("1", "baseline")
    outputs = {output["name"]: output["data"] for output in orjson.loads(reply.body)["outputs"]}
    assert outputs == {"label": [0, 0, 0], "probability": [0.75, 0.25] * 3}
    event = (await events_of(service))[0]
    assert (event["version"], event["role"], event["score"], event["error"]) == (1, "baseline", 0.25, None)
    assert event["fallback"] == "champion 1: ValueError: worn out; backup 2: ValueError: worn out"
    assert (await service.post("/versions/2/infer", helpers.matrix_body())).status == 503


async def test_what_no_version_can_answer_keeps_no_new_one_out(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, baseline=BASELINE)
    put_moody(service, 1).error = ValueError("worn out")
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "baseline")
    assert service.endpoint._recorded.sample() == ()
    service.serve(2, 2, baseline=BASELINE)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("2", "champion")
    assert len(service.endpoint._recorded.sample()) == 1


async def test_what_is_blocked_answers_nobody_until_it_is_unblocked(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config)
    asked = (helpers.matrix_body(),)
    service.serve(1, 1, backup=2, blocked=(1,))
    assert role_of(await service.post("/infer", *asked)) == ("2", "backup")
    service.serve(2, 1, backup=2, blocked=(1, 2), baseline=BASELINE)
    assert role_of(await service.post("/infer", *asked)) == ("1", "baseline")
    service.serve(3, 1, backup=2, blocked=(1, 2))
    assert (await service.post("/infer", *asked)).status == 503
    service.serve(4, 1, backup=2)
    assert role_of(await service.post("/infer", *asked)) == ("1", "champion")
    fallbacks = [event["fallback"] or event["error"] for event in await events_of(service)]
    assert fallbacks == ["champion 1: blocked", *["champion 1: blocked; backup 2: blocked"] * 2, None]


async def test_a_blocked_candidate_is_not_asked(service: Any, helpers: Any) -> None:
    service.serve(2, 1, trial=Trial(version=3, weight=1), blocked=(3,))
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")
    assert service.candidate.calls == 0


async def test_a_dead_candidate_costs_its_deadline_a_few_times_only(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": BREAKER}))
    service.serve(1, 1, trial=Trial(version=3, weight=1, deadline_ms=5))
    service.candidate.delay_s = 60
    for _ in range(8):
        assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")
    assert service.candidate.calls == 3
    fallbacks = [event["fallback"] for event in await events_of(service)]
    assert fallbacks[2] == "canary 3: timeout: no answer within 5 ms"
    assert fallbacks[7].startswith("canary 3: not asked after 3 failures in a row, the last one timeout")
    service.endpoint.start()
    service.candidate.delay_s = 0

    async def answers() -> tuple[str, str]:
        return role_of(await service.post("/infer", helpers.matrix_body()))

    await becomes(answers, ("3", "canary"))
    await service.endpoint.stop()


@pytest.fixture
def broken(versions: Any, manifests: dict[int, ModelManifest], model_root: Path, tmp_path: Path) -> Path:
    """Directory of version 9, whose model file is gone."""
    shutil.copytree(model_root / "3", tmp_path / "9")
    (tmp_path / "9" / "model.ubj").rename(tmp_path / "model.ubj")
    versions.add(9, tmp_path / "9", manifests[3])
    return tmp_path / "9"


async def test_a_champion_whose_files_come_back_answers_again(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any, broken: Path
) -> None:
    service = make_service(config.model_copy(update={"breaker": BREAKER}))
    service.serve(1, 9, backup=1)
    service.endpoint.start()
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "backup")
    shutil.copy(broken.parent / "model.ubj", broken / "model.ubj")

    async def answers() -> tuple[str, str]:
        return role_of(await service.post("/infer", helpers.matrix_body()))

    await becomes(answers, ("9", "champion"))
    assert (await service.get("/versions/9/ready")).status == 200
    assert "its files could not be loaded" in (await events_of(service))[0]["fallback"]
    await service.endpoint.stop()


async def test_a_broken_version_that_a_new_plan_loads_is_asked_at_once(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any, broken: Path
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 9, backup=1)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "backup")
    shutil.copy(broken.parent / "model.ubj", broken / "model.ubj")
    service.serve(2, 9, backup=1)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("9", "champion")


async def test_after_a_restart_the_baseline_answers_for_a_champion_without_files(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any, broken: Path
) -> None:
    service = make_service(config)
    service.serve(1, 9, baseline=BASELINE)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("9", "baseline")
    assert (await service.get("/ready")).status == 200


async def test_a_version_that_returns_in_another_process_is_asked_anew(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any
) -> None:
    service = make_service(config.model_copy(update={"breaker": NEVER}))
    service.serve(1, 1, trial=Trial(version=3, weight=1))
    service.endpoint._breakers.trip(3, "timeout")
    service.endpoint._breakers.trip(1, "tired")
    service.serve(2, 3, backup=1)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("3", "champion")
    assert service.endpoint.stats.breakers == {1: "open", 3: "closed"}


async def test_a_baseline_that_does_not_fit_is_refused(service: Any, helpers: Any) -> None:
    for baseline in (Baseline(value=1.0), Baseline(probability=(0.5, 0.25, 0.25)), Baseline(probability=(0.9, 0.9))):
        with pytest.raises(DataError, match="baseline must hold"):
            service.serve(2, 1, baseline=baseline)
    assert role_of(await service.post("/infer", helpers.matrix_body())) == ("1", "champion")
