"""Which models should leave a pool: those that take too much of what all share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from raymlops.config.serving import PoolConfig
from raymlops.serving.pool.watched import Worked

__all__ = ["MovingRule"]

_MIB = 1 << 20


class _Since(NamedTuple):
    """How long a model has been a burden."""

    first_s: float
    last_s: float


class MovingRule:
    """Tells who is slow or busy for long enough, and who leaks.

    A model begins to count as slow or busy at the first look that finds it so. It counts no more once it was neither
    for half of ``moves_after``; so neither one quiet second nor one busy second decides.

    Args:
        config: The limits.
    """

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._before: Mapping[str, Worked] = {}
        self._looked_s: float | None = None
        self._since: dict[str, _Since] = {}

    def look(self, now_s: float, worked: Mapping[str, Worked]) -> dict[str, str]:
        """Compare with the look before.

        Args:
            now_s: Monotonic seconds.
            worked: Model -> what its calls took so far.

        Returns:
            Model -> why it should leave.
        """
        before, past_s = self._before, now_s - (self._looked_s if self._looked_s is not None else now_s)
        self._before, self._looked_s = dict(worked), now_s
        self._since = {model: since for model, since in self._since.items() if model in worked}
        if past_s <= 0 or len(worked) < 2:  # alone it burdens nobody
            return {}
        found = {}
        lasting_s = self._config.moves_after.total_seconds()
        for model, now in worked.items():
            why = self._burden(before.get(model, Worked()), now, past_s)
            since = self._since.get(model)
            if why is not None:
                since = self._since[model] = _Since(now_s if since is None else since.first_s, now_s)
                if now_s - since.first_s >= lasting_s:
                    found[model] = why
            elif since is not None and now_s - since.last_s >= lasting_s / 2:
                del self._since[model]
        return found

    def leaker(self, worked: Mapping[str, Worked], beyond_bytes: int) -> dict[str, str]:
        """The model that explains most of what a process holds beyond its loaded models, where that is too much.

        Args:
            worked: Model -> what its calls took so far.
            beyond_bytes: Memory of the process that loaded models do not explain.
        """
        if beyond_bytes <= self._config.memory_bytes or len(worked) < 2:
            return {}
        model = max(worked, key=lambda name: worked[name].grown_bytes)
        grown = worked[model].grown_bytes
        if 2 * grown < beyond_bytes:
            return {}
        told = f"{beyond_bytes // _MIB} MiB more than its models need"
        return {model: f"its calls leave memory behind: the process holds {told}"}

    def _burden(self, before: Worked, now: Worked, past_s: float) -> str | None:
        calls, seconds = now.calls - before.calls, now.seconds - before.seconds
        if calls <= 0:
            return None
        slow_s = self._config.slow_above.total_seconds()
        if seconds / calls > slow_s:
            return f"its calls take {1000 * seconds / calls:.0f} ms on average, more than {1000 * slow_s:g} ms"
        if seconds / past_s > self._config.busy_above:
            return f"its calls take {seconds / past_s:.0%} of a replica's time, more than {self._config.busy_above:.0%}"
        return None
