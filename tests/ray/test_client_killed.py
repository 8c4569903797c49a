"""A person's order whose client is killed at any point: no plan, or a plan whose reason is in the ledger before it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from raymlops.control.endpoints.plan_records import intent_of

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

MODEL = "promoted_by_the_killed"
CLIENT = """
import sys
import raymlops as rml

model, version, reason = sys.argv[1], int(sys.argv[2]), sys.argv[3]
platform = rml.connect(start=False)
plan = platform.endpoints.plan(model)
print("ready", flush=True)
sys.stdin.readline()
platform.endpoints.promote(model, version, reason=reason)
print("done", flush=True)
"""
LIVES_S = (0.0, 0.01, 0.03, 0.08, 0.2)
"""From the word to promote to the client's end: some die before the order has left them, some amid it, some after."""


def _estimator(sign: int) -> object:
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(200, 2))
    return LogisticRegression().fit(rows, sign * rows.sum(axis=1) > 0)


@pytest.mark.slow
def test_a_promotion_whose_client_is_killed_has_no_plan_or_one_with_its_reason(platform: Platform) -> None:
    example = pa.table({name: [0.1, -0.2] for name in "ab"})
    first, second = (platform.models.register(MODEL, _estimator(sign), example=example).version for sign in (1, -1))
    began = platform.endpoints.deploy(MODEL, first, replicas=1)
    environment = {**os.environ, "RAYMLOPS_HOME": str(platform.config.home)}
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(len(LIVES_S)):
            version = second if number % 2 == 0 else first
            command = [sys.executable, "-c", CLIENT, MODEL, str(version), f"client {number} was killed"]
            client = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(client)
            stack.callback(client.kill)
            clients.append(client)
        for client, life_s in zip(clients, LIVES_S, strict=True):
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
            client.stdin.write("\n")
            client.stdin.flush()
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(life_s)
            client.send_signal(signal.SIGKILL)
            client.wait(60)
    assert clients[0].returncode == -signal.SIGKILL
    # changes of one model take turns: once this one is through, so is what the killed had ordered before
    platform.endpoints.deploy(MODEL, first, reason="nobody was killed")
    plans = [plan for plan in platform.metadata.plans.list_plans(MODEL) if plan.number > began.number]
    intents = {entry.sequence: intent_of(entry) for entry in platform.ledger.entries(MODEL)}
    for plan in plans:
        assert plan in intents.values(), f"nothing in the ledger asks for {plan}"
        assert plan.reason == "nobody was killed" or plan.reason.endswith("was killed")
    assert plans[-1] == platform.endpoints.plan(MODEL)
    assert platform.ledger.verify() == len(platform.ledger.entries())
