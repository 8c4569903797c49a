"""A client of the prediction service over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import aiohttp
import orjson

__all__ = ["Answer", "PredictionClient", "Question", "Tally"]

_HEADERS = {"Content-Type": "application/json"}
_LABELS_A_REQUEST = 1000
_KEPT_FAILURES = 20


@dataclass(frozen=True)
class Question:
    """One request about one row."""

    request_id: str
    at: datetime
    instance: Mapping[str, object]


@dataclass(frozen=True)
class Answer:
    """The answer of the service.

    Attributes:
        request_id: Of the question.
        prediction: One probability per class, or the value of a regression.
        version: That answered.
        role: Of that version.
    """

    request_id: str
    prediction: tuple[float, ...]
    version: int
    role: str

    @property
    def score(self) -> float:
        """One number: the value, the probability of the second of two classes, or the largest of several."""
        return self.prediction[1] if len(self.prediction) == 2 else max(self.prediction)


@dataclass
class Tally:
    """Requests so far."""

    requests: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, message: str) -> None:
        """Count a failure; the first few are kept."""
        self.failed += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append(message)


class PredictionClient:
    """Asks, and reports what came true, over HTTP, some requests at a time.

    Args:
        url: Of the platform.
        model: Name of the model.
        connections: Requests under way at once.
        deadline_s: Of one request.
        heard: Called once for each request that ended: with its answer, with why it failed, or with ``None`` where it
            reported labels.
        key: API key, where callers need one.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        connections: int = 16,
        deadline_s: float = 30.0,
        heard: Callable[[Answer | str | None], None] = lambda _: None,
        key: str | None = None,
    ) -> None:
        self._base = f"{url}/v2/models/{model}"
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=deadline_s)
        self._heard = heard
        self._headers = _HEADERS if key is None else {**_HEADERS, "Authorization": f"Bearer {key}"}
        self.tally = Tally()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, headers=self._headers)
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
                    self._heard(answer)

        await asyncio.gather(*(work() for _ in range(self._connections)))
        return answers

    async def _ask(self, question: Question) -> Answer | None:
        body = {
            "id": question.request_id,
            "instances": [question.instance],
            "parameters": {"at": question.at.isoformat()},
        }
        said = await self._post("predict", body)
        if said is None:
            return None
        outputs = {output["name"]: output["data"] for output in said["outputs"]}
        prediction = outputs["probability"] if "probability" in outputs else outputs["value"]
        if isinstance(prediction[0], list):
            prediction = prediction[0]
        numbers = tuple(map(float, prediction))
        return Answer(question.request_id, numbers, int(said["model_version"]), said["parameters"]["role"])

    async def report(self, labels: Sequence[Mapping[str, object]]) -> None:
        """Report labels: ``request_id``, ``row``, ``label``, ``event_time``."""
        for start in range(0, len(labels), _LABELS_A_REQUEST):
            if await self._post("labels", {"labels": labels[start : start + _LABELS_A_REQUEST]}) is not None:
                self._heard(None)

    async def _post(self, path: str, body: Mapping[str, object]) -> dict[str, Any] | None:
        self.tally.requests += 1
        try:
            async with self._session.post(f"{self._base}/{path}", data=orjson.dumps(body)) as response:
                content = await response.read()
                if response.status == 200:
                    return dict(orjson.loads(content))
                failure = f"{path}: {response.status} {content[:300].decode(errors='replace')}"
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = f"{path}: {type(error).__name__}: {error}"
        self.tally.fail(failure)
        self._heard(failure)
        return None
