"""``python -m benchmarks.chaos.load``: asks every model at a constant rate, whatever happens, and journals each answer.

Requests are sent when they are due, not when an earlier one was answered, so an outage costs as many requests as it
lasts. Some answers are labelled; a label that was acknowledged is journalled to be looked for later.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.chaos import world
from benchmarks.chaos.journal import Journal, now
from benchmarks.chaos.trace import LABEL, Request

_LABELLED = "sums"
_LABEL_EVERY_S = 0.5
_GIVE_UP_S = 40.0
"""After so long a request counts as never answered; the judge has a shorter deadline."""


class _Load:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self._url = arguments.url
        self._models = [each.name for each in world.MODELS[: arguments.models]]
        self._rate = arguments.rate
        self._prefix = arguments.prefix
        # a disk that is busy with a platform that starts must not keep the loop from sending and from taking answers
        self._disk = ThreadPoolExecutor(1)
        self._requests = Journal(arguments.out / "requests.jsonl")
        self._operations = Journal(arguments.out / "operations.jsonl")
        self._done = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._answered: str | None = None
        self._failed: BaseException | None = None

    async def run(self) -> None:
        for stop in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(stop, self._done.set)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            labels = asyncio.create_task(self._label_on(session))
            started, number = now(), 0
            while not self._done.is_set():
                due = started + number / self._rate
                if (wait := due - now()) > 0:
                    await asyncio.sleep(wait)
                self._begin(self._ask(session, number, due))
                number += 1
            await labels
            await asyncio.gather(*self._under_way)
        await asyncio.to_thread(self._disk.shutdown)
        if self._failed is not None:
            raise self._failed

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # a generator that is broken must not look like a platform that is silent
            self._failed = error
            self._done.set()

    async def _ask(self, session: aiohttp.ClientSession, number: int, due: float) -> None:
        model, item = self._models[number % len(self._models)], number // len(self._models)
        request_id = f"{self._prefix}-{number}"
        sent = now()
        answer = await self._post(session, world.path(model), world.body(model, item, request_id))
        seen = Request(due, sent, now(), model, item, *_read(answer))
        self._disk.submit(self._requests.write, list(seen))
        if seen.status == 200 and model == _LABELLED:
            self._answered = request_id

    async def _post(self, session: aiohttp.ClientSession, path: str, document: Any) -> tuple[int, Any]:
        """Status and document; status 0 and the error's name where there was no answer."""
        try:
            async with asyncio.timeout(_GIVE_UP_S), session.post(self._url + path, json=document) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return 0, {"error": type(error).__name__}

    async def _label_on(self, session: aiohttp.ClientSession) -> None:
        """Label an answer now and then."""
        last = None
        while not self._done.is_set():
            await asyncio.sleep(_LABEL_EVERY_S)
            if self._answered == last or self._answered is None:
                continue
            last = self._answered
            self._begin(self._label(session, last))

    async def _label(self, session: aiohttp.ClientSession, request_id: str) -> None:
        row = {"request_id": request_id, "row": 0, "label": True, "event_time": datetime.now(UTC).isoformat()}
        begun = {"op": LABEL, "id": request_id, "t0": now()}
        self._disk.submit(self._operations.write, begun)
        status, _ = await self._post(session, f"/v2/models/{_LABELLED}/labels", {"labels": [row]})
        ended = {**begun, "t1": now(), "ok": status == 200, "error": str(status)}
        self._disk.submit(self._operations.write, ended)


def _read(answer: tuple[int, Any]) -> tuple[int, int | None, float | None, str]:
    """Status, version, value and note of an answer; an answer that cannot be read is noted, and so is judged wrong."""
    status, document = answer
    if status != 200:
        return status, None, None, str(document.get("error", "") if isinstance(document, dict) else document)[:120]
    try:
        role = str(document["parameters"]["role"])
        return status, int(document["model_version"]), world.value_in(document), role
    except (KeyError, TypeError, ValueError, IndexError):
        return status, None, None, f"unreadable: {document}"[:120]


def main() -> None:
    """Ask until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=int, default=len(world.MODELS))
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--prefix", default="r")
    asyncio.run(_Load(parser.parse_args()).run())


if __name__ == "__main__":
    main()
