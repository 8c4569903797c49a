"""A replica lets callers in by the keys of the store, and nobody once it is drained."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.errors import Unauthenticated, UnavailableError
from raymlops.metadata import MetadataService
from raymlops.records.serving.keys import ApiKey, new_key
from raymlops.runtime.serve.replicas.admission import Admission
from raymlops.serving.protocol.access import OPEN, Access

T = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    service = MetadataService(tmp_path / "metadata.db", clock=ManualClock(T))
    yield service
    service.close()


class Door:
    """What an endpoint does with the keys it is given."""

    def __init__(self) -> None:
        self.access = Access(required=True)

    def admit(self, access: Access) -> None:
        self.access = access

    def ask(self, text: str) -> None:
        self.access.check({"authorization": f"Bearer {text}"}, "infer", "m")


@pytest.mark.asyncio
async def test_a_new_key_opens_after_a_refresh_and_who_has_none_is_in_the_ledger(metadata: MetadataService) -> None:
    door = Door()
    admission = Admission(door.admit, metadata, required=True, replica="r1")
    key, text = new_key("ada", ["infer"], T)
    metadata.keys.put_key(key)
    with pytest.raises(Unauthenticated):
        door.ask(text)
    await admission.refresh()
    door.ask(text)
    with pytest.raises(Unauthenticated):
        door.ask("nothing")
    await admission.refresh()
    (entry,) = metadata.ledger.entries()
    assert (entry.evidence["count"], entry.evidence["where"]) == (1, "r1")


@pytest.mark.asyncio
async def test_keys_that_were_being_read_when_the_replica_was_drained_let_nobody_in(
    metadata: MetadataService, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door()
    admission = Admission(door.admit, metadata, required=True, replica="r1")
    key, text = new_key("ada", ["infer"], T)
    metadata.keys.put_key(key)
    began, goes_on, read = threading.Event(), threading.Event(), metadata.keys.list_keys

    def slow() -> list[ApiKey]:
        keys = read()
        began.set()
        assert goes_on.wait(20)
        return keys

    monkeypatch.setattr(metadata.keys, "list_keys", slow)
    refreshing = asyncio.create_task(admission.refresh())
    assert await asyncio.to_thread(began.wait, 20)
    await admission.close(lambda: 0, "m")
    goes_on.set()
    await refreshing
    with pytest.raises(UnavailableError):
        door.ask(text)
    await admission.refresh()
    with pytest.raises(UnavailableError):
        door.ask(text)


@pytest.mark.asyncio
async def test_a_drained_replica_waits_for_its_requests_and_not_for_ever(
    metadata: MetadataService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door()
    door.admit(OPEN)
    left = [2, 1, 0]
    await Admission(door.admit, metadata, required=False, replica="r1").close(lambda: left.pop(0), "m")
    assert left == []
    monkeypatch.setattr("raymlops.runtime.serve.replicas.admission._GRACE_S", 0.05)
    await Admission(door.admit, metadata, required=False, replica="r1").close(lambda: 1, "m")
    assert "requests of m are under way" in caplog.text
    with pytest.raises(UnavailableError):
        door.ask("anything")
