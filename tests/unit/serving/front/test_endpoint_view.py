from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from raymlops.errors import UnavailableError
from raymlops.records.plans import ServingPlan
from raymlops.records.serving.endpoints import EndpointStatus
from raymlops.serving.front import endpoint_view, gateway
from raymlops.serving.front.endpoint_view import EndpointView
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.protocol.http import HttpRequest

pytestmark = pytest.mark.asyncio


class Silent:
    """A reconciler, or a metadata store, that does not answer while the platform starts."""

    def __init__(self) -> None:
        self.asked = 0

    async def statuses(self) -> Sequence[EndpointStatus]:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    async def served_plans(self) -> Mapping[str, ServingPlan]:
        await asyncio.Event().wait()
        raise AssertionError


class Plans:
    async def served_plans(self) -> Mapping[str, ServingPlan]:
        return {"delay": ServingPlan(model="delay", number=1, champion=1, created_at=datetime(2013, 6, 1, tzinfo=UTC))}


async def test_those_who_wait_share_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_view, "_DEADLINE_S", 0.05)
    source = Silent()
    view = EndpointView(source, time_s=lambda: 0.0)
    found = await asyncio.gather(*(view.statuses() for _ in range(50)), return_exceptions=True)
    assert source.asked == 1
    assert {type(each) for each in found} == {UnavailableError}
    assert "no answer within 0.05 s" in str(found[0])


@pytest.mark.parametrize("plans", [Plans(), Silent()], ids=["plans answer", "nobody answers"])
async def test_a_caller_is_not_kept_waiting_for_why(plans: Plans | Silent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_REASON_WITHIN_S", 0.05)
    front = Gateway("1", plans, EndpointView(Silent()))
    async with asyncio.timeout(10.0):  # of a deadline of 10 s for one request
        replies = await asyncio.gather(
            *(front.handle(HttpRequest("POST", "/v2/models/delay/infer")) for _ in range(100))
        )
    assert {reply.status for reply in replies} == {503}
    assert b"is not up yet" in replies[0].body
