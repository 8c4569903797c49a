"""Follows the journals of a campaign: whether every model is answered rightly, and whether people are heard."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chaos import world
from benchmarks.chaos.journal import Tail, now
from benchmarks.chaos.judge import judge_answer
from benchmarks.chaos.trace import PROMOTE, PUSH, Request

__all__ = ["KnownAnswers", "Watch"]

_STEADY_S = 1.0
"""So long every answer must have been right."""


class KnownAnswers:
    """What the estimators of ``world`` answer; an oracle for the judge."""

    def expected(self, model: str, version: int, item: int) -> float | None:
        return world.expected(model, version, item) if version in world.VERSIONS else None

    def generation(self, model: str, version: int, item: int, value: float) -> int | None:
        del model
        return world.generation_of(version, item, value) if version in world.VERSIONS else None

    def is_keyed(self, model: str) -> bool:
        return any(each.name == model and each.service for each in world.MODELS)

    def is_close(self, value: float, wanted: float) -> bool:
        return world.is_close(value, wanted)


class Watch:
    """The newest that is known of each model and of each kind of operation.

    Args:
        directory: Where the journals are.
        models: The models that must answer.
    """

    def __init__(self, directory: Path, models: list[str]) -> None:
        self._requests = Tail(directory / "requests.jsonl")
        self._operations = Tail(directory / "operations.jsonl")
        self._oracle = KnownAnswers()
        self._right_since = dict.fromkeys(models, float("inf"))
        self._right_at = dict.fromkeys(models, float("-inf"))
        self._acknowledged = {PUSH: float("-inf"), PROMOTE: float("-inf")}
        self.open: dict[tuple[str, str, float], dict[str, object]] = {}
        """Operations of people that have begun and not ended."""

    def update(self) -> None:
        """Take in what was journalled meanwhile."""
        for line in self._requests.read():
            request = Request(*line)
            # whether the features were fresh enough is for the judge, who sees both journals whole
            if request.status != 200 or judge_answer(request, self._oracle, lambda *_: None) is not None:
                self._right_since[request.model] = float("inf")
                continue
            self._right_since[request.model] = min(self._right_since[request.model], request.done)
            self._right_at[request.model] = request.done
        for line in self._operations.read():
            known = (line["op"], str(line["id"]), line["t0"])
            if "t1" not in line:
                self.open[known] = line
                continue
            self.open.pop(known, None)
            if line.get("ok") and line["op"] in self._acknowledged:
                # what began before the trouble says nothing of the time after it
                self._acknowledged[line["op"]] = max(self._acknowledged[line["op"]], line["t0"])

    def wanting(self, after: float) -> list[str]:
        """What has not been right for a while, counted from ``after``."""
        at = now()
        silent = [
            model
            for model, since in self._right_since.items()
            if since > at - _STEADY_S or self._right_at[model] < max(after, at - _STEADY_S)
        ]
        unheard = [op for op, at in self._acknowledged.items() if at < after]
        return [*(f"answers of {model}" for model in silent), *(f"an acknowledged {op}" for op in unheard)]
