"""Refused requests reach the ledger counted, and as one entry a minute whatever is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.errors import Forbidden, Unauthenticated, UnavailableError
from raymlops.records.ledger import LedgerEntry
from raymlops.records.serving.keys import ApiKey, new_key, parse_grant
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.refusal_log import RefusalLog
from tests.support.control import InMemoryLedger

pytestmark = pytest.mark.asyncio

AT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(AT)
        self.ledger = InMemoryLedger(self.clock)
        self.down = False
        self.log = RefusalLog("replica-1", self.clock)

    async def append(self, *entry: Any, key: str) -> LedgerEntry:
        if self.down:
            raise UnavailableError("the metadata actor died")
        return self.ledger.append_entry(*entry, key=key)

    async def tell(self, log: RefusalLog | None = None) -> list[dict[str, Any]]:
        await (log or self.log).tell(self.append)
        return [entry.evidence for entry in self.ledger.entries()]

    def access(self, *keys: ApiKey) -> Access:
        return Access(keys, refusals=self.log, clock=self.clock)


def made(*grants: str) -> tuple[ApiKey, str]:
    return new_key("ann", [], AT, grants=[parse_grant(one) for one in grants])


async def test_a_hostile_caller_makes_one_entry_a_minute_and_each_request_is_counted() -> None:
    world = World()
    access = world.access()
    for number in range(1000):
        with pytest.raises(Unauthenticated):
            access.check({"authorization": f"Bearer rml_{number:012x}_guess"}, "infer", "churn")
    assert [told["count"] for told in await world.tell()] == [1000]
    for _ in range(7):
        with pytest.raises(Unauthenticated):
            access.check({"authorization": "Bearer rml_0123456789ab_guess"}, "infer", "churn")
    assert len(await world.tell()) == 1
    world.clock.advance_to(AT + MINUTE)
    assert [told["count"] for told in await world.tell()] == [1000, 7]
    world.clock.advance_to(AT + 5 * MINUTE)
    assert len(await world.tell()) == 2
    assert {entry.subject for entry in world.ledger.entries()} == {"key:unknown"}


async def test_each_kind_is_told_with_the_key_and_never_with_its_text() -> None:
    world = World()
    (valid, text), (revoked, revoked_text), (expired, expired_text) = (
        made("infer:churn"),
        made("infer:*"),
        made("infer:*"),
    )
    revoked = revoked.model_copy(update={"revoked_at": AT})
    expired = expired.model_copy(update={"expires_at": AT})
    access = world.access(valid, revoked, expired)
    for shown in ("", "Bearer nonsense", f"Bearer {text[:-1]}", f"Bearer {revoked_text}", f"Bearer {expired_text}"):
        with pytest.raises(Unauthenticated):
            access.check({"authorization": shown}, "infer", "churn")
    for _ in range(3):
        with pytest.raises(Forbidden):
            access.check({"authorization": f"Bearer {text}"}, ("operate", "trigger"), "fraud" * 100)
    told = {evidence["kind"]: evidence for evidence in await world.tell()}
    assert told.keys() == {"no_key", "unknown_key", "wrong_secret", "revoked_key", "expired_key", "forbidden"}
    assert [told[kind]["key"] for kind in ("wrong_secret", "revoked_key", "expired_key")] == [
        valid.id,
        revoked.id,
        expired.id,
    ]
    forbidden = told["forbidden"]
    assert (forbidden["count"], forbidden["key"], forbidden["name"]) == (3, valid.id, "ann")
    assert (forbidden["scope"], forbidden["target"]) == ("operate or trigger", ("fraud" * 100)[:100])
    written = "".join(entry.model_dump_json() for entry in world.ledger.entries())
    for secret in (text, revoked_text, expired_text):
        assert secret.split("_", 2)[2] not in written


async def test_what_the_ledger_does_not_take_is_told_later() -> None:
    world = World()
    world.down = True
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            world.access().check({}, "infer")
    assert await world.tell() == []
    world.down = False
    assert [told["count"] for told in await world.tell()] == [2]


async def test_replicas_share_the_minute_and_lose_no_count() -> None:
    world = World()
    other = RefusalLog("replica-2", world.clock)
    key, _ = made("infer:churn")
    for log in (world.log, other):
        log.note("forbidden", key, "infer", "fraud")
    await world.tell()
    assert len(await world.tell(other)) == 1
    world.clock.advance_to(AT + MINUTE)
    told = await world.tell(other)
    assert [(one["where"], one["count"]) for one in told] == [("replica-1", 1), ("replica-2", 1)]
