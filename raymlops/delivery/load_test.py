"""Asking a service at a stated rate, whether or not it keeps up, and holding its latencies against a bound."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from raymlops.errors import DeploymentError

__all__ = ["Load", "LoadReport", "run_load_test"]

_HEADERS = {"Content-Type": "application/json"}
_KEPT = 3
_SLACK_S = 10.0


@dataclass(frozen=True)
class Load:
    """The requests of a load test, their rate, and the bounds of the answers.

    Attributes:
        rate_per_s: Requests per second.
        p99_s: Ninety-nine in a hundred must be answered within this.
        seconds: For how long requests are started.
    """

    rate_per_s: float
    p99_s: float
    seconds: float


@dataclass
class LoadReport:
    """How a service answered.

    Attributes:
        latencies_s: From when a request was due to the end of its answer; infinite where there was none.
        late_s: From when a request was due to when it was sent.
        failures: Errors of the first requests that failed.
    """

    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200."""
        return sum(map(math.isinf, self.latencies_s))

    @property
    def p50_ms(self) -> float:
        """Median latency in milliseconds."""
        return 1000 * _quantile(self.latencies_s, 0.5)

    @property
    def p99_ms(self) -> float:
        """Latency in milliseconds that one request in a hundred exceeds; infinite where so many failed."""
        return 1000 * _quantile(self.latencies_s, 0.99)

    def require(self, load: Load) -> None:
        """Hold the answers against what was stated.

        Raises:
            DeploymentError: Too many were late or failed, or this process could not keep the rate.
        """
        bound, asked = 1000 * load.p99_s, f"{len(self.latencies_s)} requests at {load.rate_per_s:g}/s"
        if self.p99_ms <= bound:
            return
        if self.failed:
            raise DeploymentError(f"the service failed {self.failed} of {asked}, at first with: {self.failures[0]}")
        told = f"p99 must be at most {bound:g} ms, got {self.p99_ms:.1f} ms (median {self.p50_ms:.1f} ms) of {asked}"
        late = 1000 * _quantile(self.late_s, 0.99)
        if late > bound / 2:
            told += f"; requests were sent up to {late:.0f} ms late, so that the machine that asks may be the slow one"
        raise DeploymentError(f"the service is too slow: {told}")


async def run_load_test(
    url: str, bodies: Sequence[bytes], load: Load, headers: Mapping[str, str] | None = None
) -> LoadReport:
    """Start requests at equal distances, however many are under way: an open loop, as callers are one.

    Args:
        url: Asked by POST.
        bodies: Sent in turn.
        load: How often, for how long, and the bound, many times which a request may take before it is given up.
        headers: Sent with each.
    """
    report, count = LoadReport(), max(1, round(load.rate_per_s * load.seconds))
    timeout = aiohttp.ClientTimeout(total=max(_SLACK_S, 5 * load.p99_s))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers={**_HEADERS, **(headers or {})}
    ) as session:
        began = time.perf_counter()
        asking = []
        for number in range(count):
            due = began + number / load.rate_per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asking.append(asyncio.create_task(_ask(session, url, bodies[number % len(bodies)], due, report)))
        await asyncio.gather(*asking)
    return report


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes, due: float, report: LoadReport) -> None:
    report.late_s.append(time.perf_counter() - due)
    try:
        async with session.post(url, data=body) as response:
            content = await response.read()
            failure = None if response.status == 200 else f"{response.status} {content[:200].decode(errors='replace')}"
    except (aiohttp.ClientError, TimeoutError) as error:
        failure = f"{type(error).__name__}: {error}"
    if failure is None:
        report.latencies_s.append(time.perf_counter() - due)
        return
    report.latencies_s.append(math.inf)
    if len(report.failures) < _KEPT:
        report.failures.append(failure)


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    ranked = sorted(values)
    return ranked[math.ceil(share * len(ranked)) - 1] if ranked else math.inf
