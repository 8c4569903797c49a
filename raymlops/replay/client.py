"""A client of the prediction service, such as an airline's website would have."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import aiohttp
import orjson

__all__ = ["Answer", "PredictionClient", "Question", "Tally"]

_HEADERS = {"Content-Type": "application/json"}
_LABELS_A_REQUEST = 1000


@dataclass(frozen=True)
class Question:
    """One flight at its scheduled departure."""

    flight_id: str
    at: datetime
    instance: Mapping[str, object]


@dataclass(frozen=True)
class Answer:
    """What the service said."""

    flight_id: str
    probability: float
    version: int
    role: str


@dataclass
class Tally:
    """Requests so far."""

    requests: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)


class PredictionClient:
    """Asks about flights and reports their fate, over HTTP, some requests at a time.

    Args:
        url: Of the platform.
        model: Name of the model.
        connections: Requests under way at once.
        deadline_s: Of one request.
    """

    def __init__(self, url: str, model: str, *, connections: int = 16, deadline_s: float = 30.0) -> None:
        self._base = f"{url}/v2/models/{model}"
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=deadline_s)
        self.tally = Tally()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, headers=_HEADERS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One request per question, started in their order; the answers of those that did not fail."""
        queue = iter(questions)
        answers: list[Answer] = []

        async def work() -> None:
            for question in queue:
                answer = await self._ask(question)
                if answer is not None:
                    answers.append(answer)

        await asyncio.gather(*(work() for _ in range(self._connections)))
        return answers

    async def _ask(self, question: Question) -> Answer | None:
        body = {
            "id": question.flight_id,
            "instances": [question.instance],
            "parameters": {"at": question.at.isoformat()},
        }
        said = await self._post("predict", body)
        if said is None:
            return None
        outputs = {output["name"]: output["data"] for output in said["outputs"]}
        probability = outputs["probability"]
        late = probability[0][1] if isinstance(probability[0], list) else probability[1]
        return Answer(question.flight_id, float(late), int(said["model_version"]), said["parameters"]["role"])

    async def report(self, labels: Sequence[Mapping[str, object]]) -> None:
        """Report labels: ``request_id``, ``row``, ``label``, ``event_time``."""
        for start in range(0, len(labels), _LABELS_A_REQUEST):
            await self._post("labels", {"labels": labels[start : start + _LABELS_A_REQUEST]})

    async def _post(self, path: str, body: Mapping[str, object]) -> dict[str, Any] | None:
        self.tally.requests += 1
        try:
            async with self._session.post(f"{self._base}/{path}", data=orjson.dumps(body)) as response:
                content = await response.read()
                if response.status == 200:
                    return dict(orjson.loads(content))
                self._failed(f"{path}: {response.status} {content[:300].decode(errors='replace')}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._failed(f"{path}: {type(error).__name__}: {error}")
        return None

    def _failed(self, message: str) -> None:
        self.tally.failed += 1
        if len(self.tally.failures) < 20:
            self.tally.failures.append(message)
