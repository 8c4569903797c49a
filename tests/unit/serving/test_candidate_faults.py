"""A candidate in a process of its own that crashes, leaks, sleeps or answers NaN: callers see only good answers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import orjson
import pytest

from raymlops.config.serving import ServingConfig
from raymlops.records.plans import Trial

pytestmark = pytest.mark.asyncio

CANDIDATE = """
import json, os, sys, time
from raymlops.runtime.cluster.memory_limit import limit_growth

how, kept = sys.argv[1], []
limit_growth(64 << 20)
print("ready", flush=True)
for number, line in enumerate(sys.stdin):
    rows, share = int(line), 0.875
    if number >= 2:
        if how == "crash":
            os.abort()
        elif how == "sleep":
            time.sleep(3600)
        elif how == "nan":
            share = float("nan")
    try:
        if how == "leak":
            kept.append(bytearray(16 << 20))
        print(json.dumps({"rows": rows, "share": share}), flush=True)
    except MemoryError:
        print(json.dumps({"error": "MemoryError"}), flush=True)
"""


class ProcessCandidate:
    """Asks the process; once it is gone it stays gone."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def client(self, model: str, version: int) -> ProcessCandidate:
        return self

    async def infer(self, columns: Any, deadline_s: float) -> Any:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(b"%d\n" % len(next(iter(columns.values()))))
        await stdin.drain()
        line = await stdout.readline()
        if not line:
            raise ConnectionResetError("the candidate's process is gone")
        answer = orjson.loads(line.replace(b"NaN", b"null"))
        if "error" in answer:
            raise MemoryError
        share = np.nan if answer["share"] is None else answer["share"]
        probability = np.tile([1 - share, share], (answer["rows"], 1))
        return {"label": np.ones(answer["rows"], dtype=np.int64), "probability": probability}


@asynccontextmanager
async def candidate_that(how: str) -> AsyncIterator[ProcessCandidate]:
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", CANDIDATE, how, **pipes)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield ProcessCandidate(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("crash", "raised ConnectionResetError: the candidate's process is gone"),
        ("leak", "raised MemoryError"),
        ("sleep", "timeout: no answer within 200 ms"),
        ("nan", "answered NaN or infinity"),
    ],
)
async def test_callers_see_only_good_answers(
    make_service: Callable[..., Any], config: ServingConfig, helpers: Any, how: str, reason: str
) -> None:
    service = make_service(config)
    service.serve(1, 1)
    champion = orjson.loads((await service.post("/infer", helpers.matrix_body())).body)["outputs"]
    roles = []
    async with candidate_that(how) as candidate:
        service.loader._candidates = candidate
        service.serve(2, 1, trial=Trial(version=3, weight=1, deadline_ms=200 if how == "sleep" else 9_000))
        for _ in range(12):
            reply = await service.post("/infer", helpers.matrix_body())
            assert reply.status == 200
            document = orjson.loads(reply.body)
            roles.append(document["parameters"]["role"])
            probability = next(one["data"] for one in document["outputs"] if one["name"] == "probability")
            good = document["outputs"] == champion if roles[-1] == "champion" else probability == [0.125, 0.875]
            assert good, document
    assert how == "sleep" or roles[:2] == ["canary"] * 2  # a busy machine may take 200 ms for a good answer, too
    assert roles[-5:] == ["champion"] * 5
    await service.endpoint.flush()
    reasons = [event["fallback"] for event in service.sink.rows if event["fallback"]]
    assert any(reason in found for found in reasons), reasons
    assert "not asked after 5 failures in a row" in reasons[-1]
