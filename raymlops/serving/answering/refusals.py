"""Classification of a model's errors: a refusal of the caller's rows, or a failure of the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from raymlops.errors import DataError, NotFinite, RaymlopsError
from raymlops.flavors.guard import foreign_errors
from raymlops.serving.models.model import Model
from raymlops.serving.models.outputs import check_outputs
from raymlops.serving.plans.recorded_requests import RecordedRequests
from raymlops.serving.protocol.prediction_request import PredictionRequest

if TYPE_CHECKING:
    from raymlops.serving.plans.loader import Loaded, Serving

__all__ = ["Refusals"]

_SOUND_FOR_S = 1.0
"""For so long after a model was seen to answer, it is not asked again whether it does: refused rows must not cost more
than others."""


class Refusals:
    """Tells a refusal of rows from a failure of a model. All methods belong to one event loop.

    A model refuses rows if it raises what estimators raise about their input, or answers NaN, and yet answers its
    example and what was answered lately. Where features were joined, they are not the caller's: the rows are refused
    only if the model does not take them with the features of its example either.

    Args:
        recorded: Requests that were answered.
    """

    def __init__(self, recorded: RecordedRequests) -> None:
        self._recorded = recorded
        self._sound_until_s: WeakKeyDictionary[Model, float] = WeakKeyDictionary()

    async def of(
        self, request: PredictionRequest, serving: Serving, loaded: Loaded, error: Exception
    ) -> DataError | None:
        """The refusal that an error is; ``None`` where the model failed.

        Args:
            request: The rows.
            serving: The state of the endpoint when they arrived.
            loaded: The version that raised.
            error: What it raised.
        """
        if isinstance(error, DataError):
            if not request.entities:
                return error
        elif not _by_input(error) or not await self._is_sound(loaded):
            return None
        if request.entities:
            fields = serving.instances.fields
            if loaded.parity is None or await asyncio.to_thread(_answers_with_example, loaded, request, fields):
                return None
        if isinstance(error, DataError):
            return error
        return DataError(f"the model takes no such rows: {type(error).__name__}: {str(error)[:300]}")

    async def _is_sound(self, loaded: Loaded) -> bool:
        if loaded.parity is None:
            return False
        if self._sound_until_s.get(loaded.model, 0.0) > time.monotonic():
            return True
        sound = await asyncio.to_thread(loaded.problem, self._recorded.sample()) is None
        if sound:
            self._sound_until_s[loaded.model] = time.monotonic() + _SOUND_FOR_S
        return sound


def _by_input(error: Exception) -> bool:
    """Whether it may be the rows' fault: an estimator raises nothing else about its input, or answers NaN."""
    if isinstance(error, RaymlopsError):
        return isinstance(error, NotFinite)
    return isinstance(error, ValueError | TypeError | KeyError | IndexError)


def _answers_with_example(loaded: Loaded, request: PredictionRequest, fields: Collection[str]) -> bool:
    """Whether the model takes the caller's fields beside features that it is known to take. Blocks."""
    assert loaded.parity is not None
    example, model = loaded.parity.columns, loaded.model
    columns = {
        name: request.columns[name] if name in fields else np.repeat(example[name][:1], request.rows)
        for name in model.schema.names
    }
    try:
        with foreign_errors("the model cannot answer"):
            check_outputs(model.predict(columns), request.rows)
    except MemoryError:  # no fault of the rows'
        return True
    except RaymlopsError:
        return False
    return True
