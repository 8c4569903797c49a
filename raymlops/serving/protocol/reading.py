"""Decoding of request bodies: small ones at once, large ones in a helper process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from raymlops.config.serving import ServingConfig
from raymlops.records.learning.signatures import Signature
from raymlops.serving.protocol.aside import Aside
from raymlops.serving.protocol.http import HttpRequest
from raymlops.serving.protocol.instances import InstanceSchema
from raymlops.serving.protocol.labels import decode_labels
from raymlops.serving.protocol.open_inference import InferRequest, decode_infer
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.schema import InputSchema

__all__ = ["ROWS_AT_ONCE", "BodyReader", "left_s"]

T = TypeVar("T")

ROWS_AT_ONCE = 256
"""Requests of more rows have their features joined and their answers written in a thread."""
_JOINS_AT_ONCE = 8


def left_s(ends_ns: int) -> float:
    """Seconds until an instant of ``time.perf_counter_ns``."""
    return (ends_ns - time.perf_counter_ns()) / 1e9


class BodyReader:
    """Reads bodies within what a request may hold and until its deadline. Belongs to one event loop.

    Every method takes ``ends_ns``, the deadline as ``time.perf_counter_ns`` has it, and raises ``DataError`` where the
    body is wrong, ``TimeoutError`` where the deadline comes first, and ``UnavailableError`` where a process ended.

    Args:
        config: Sizes.
    """

    def __init__(self, config: ServingConfig) -> None:
        self._limits = config.limits
        self._aside_above_bytes = config.aside_above_bytes
        self._aside = Aside()
        self._joins = ThreadPoolExecutor(_JOINS_AT_ONCE, "join")

    async def infer(self, request: HttpRequest, schema: InputSchema, ends_ns: int) -> InferRequest:
        """An infer request for a model."""
        if len(request.body) <= self._aside_above_bytes:
            return decode_infer(request.body, request.headers, schema, self._limits)
        headers = dict(request.headers)
        return await self._beside(ends_ns, decode_infer, request.body, headers, schema, self._limits)

    async def predict(
        self, request: HttpRequest, instances: InstanceSchema, now_us: int, ends_ns: int
    ) -> PredictionRequest:
        """A predict request and its features."""
        decode = instances.request.decode
        if len(request.body) <= self._aside_above_bytes:
            asked = decode(request.body, now_us, self._limits)
        else:
            asked = await self._beside(ends_ns, decode, request.body, now_us, self._limits)
        if len(asked.rows) <= ROWS_AT_ONCE and not instances.blocks:
            return instances.join(asked)
        async with asyncio.timeout(left_s(ends_ns)):
            return await asyncio.get_running_loop().run_in_executor(self._joins, instances.join, asked)

    async def labels(
        self, request: HttpRequest, signature: Signature, now_us: int, ends_ns: int
    ) -> tuple[pa.Table, str]:
        """A labels request, and the id of its batch."""
        given = (request.body, dict(request.headers), signature, now_us, self._limits)
        if len(request.body) <= self._aside_above_bytes:
            return decode_labels(*given)
        return await self._beside(ends_ns, decode_labels, *given)

    def close(self) -> None:
        """End the process, and let the threads end with what they do now."""
        self._joins.shutdown(wait=False, cancel_futures=True)
        self._aside.close()

    async def _beside(self, ends_ns: int, function: Callable[..., T], *arguments: object) -> T:
        async with asyncio.timeout(left_s(ends_ns)):
            return await self._aside.call(function, *arguments)
