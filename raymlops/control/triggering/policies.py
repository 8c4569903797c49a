"""When a trigger becomes a retraining. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from raymlops.config.control import ControlConfig
from raymlops.control.triggering.fired import Fired
from raymlops.control.triggering.news import ORDER, NewCode, NewData, RetrainOrder, find_news
from raymlops.control.triggering.regret import regret_standing
from raymlops.control.triggering.triggers import find_distrusted, find_fired, labelled_rows
from raymlops.laboratory.probed import Probed, RegretStanding
from raymlops.records.record import Record
from raymlops.records.windows import WindowRecord

__all__ = ["RetrainOutcome", "RetrainPolicy", "RetrainRequest", "RetrainVerdict"]


class RetrainOutcome(StrEnum):
    """What the policy says."""

    RETRAIN = "retrain"
    BLOCK = "block"
    """A trigger fired, or would have, and the newest data is broken."""
    HOLD = "hold"
    """A trigger fired, and it is too early, too costly, or there is too little to learn from."""
    QUIET = "quiet"
    """No trigger fired."""


class RetrainVerdict(Record):
    """The verdict of a retraining policy, and its reason."""

    outcome: RetrainOutcome
    reason: str
    occasion: str = ""
    """Names the occasion, for keys: the end of the newest window, or a date of the schedule."""
    fired: tuple[Fired, ...] = ()
    labelled_rows: int = 0
    regret: RegretStanding | None = None
    """The probes' account; ``None`` where there is none."""
    orders: tuple[int, ...] = ()
    """Ledger entries of the orders that it answers."""


@dataclass(frozen=True)
class RetrainRequest:
    """The inputs of a retraining policy."""

    now: datetime
    champion_since: datetime
    windows: Sequence[WindowRecord]
    """The champion's closed windows, oldest first."""
    started: Sequence[datetime] = ()
    """When retrainings were started before, oldest first."""
    rejections: int = 0
    """Candidates in a row that were refused or rolled back, since the champion took over."""
    used: frozenset[str] = frozenset()
    """Occasions that were decided on before: each is decided on once."""
    probed: Probed | None = None
    """Results of probes."""
    champion: int = 0
    """Version that serves."""
    orders: Sequence[RetrainOrder] = ()
    """Orders that no retraining answered yet, oldest first."""
    data: NewData | None = None
    """New rows in the tables that the champion was trained on, where they are known and a trigger uses them."""
    rows_before: int = 0
    """Rows of ``data`` that the newest retraining of this champion had already."""
    code: NewCode | None = None
    """How the deployed bundle differs from the champion's."""

    @cached_property
    def labelled_rows(self) -> int:
        """Labelled rows in the champion's windows."""
        return labelled_rows(self.windows)


class RetrainPolicy:
    """Turns fired triggers into a retraining, or holds them back. Pure, immutable, thread-safe.

    In this order: no trigger, quiet; occasions already used, quiet; newest data broken, block; then hold within the
    cooldown, beyond the budget, or with too few labelled rows. An order is held by the budget alone.

    Args:
        config: Triggers and limits.
    """

    def __init__(self, config: ControlConfig) -> None:
        self._triggers = config.triggers
        self._limits = config.retrain

    def evaluate(self, request: RetrainRequest) -> RetrainVerdict:
        """The verdict as of now."""
        regret = regret_standing(request.probed, self._triggers.regret, request.now)
        return self._evaluate(request, regret).model_copy(update={"regret": regret})

    def _evaluate(self, request: RetrainRequest, regret: RegretStanding | None) -> RetrainVerdict:
        found = self._fired(request, regret)
        if not found:
            return RetrainVerdict(outcome=RetrainOutcome.QUIET, reason="no trigger fired")
        # Broken data blocks once a window, whatever fired: a date of the calendar is not lost to it.
        by_window, broken = self._occasion(request), _broken(request) is not None
        named = {
            each.trigger: by_window if broken and each.trigger != ORDER else each.occasion or by_window
            for each in found
        }
        fired = tuple(each for each in found if named[each.trigger] not in request.used)
        occasion = named[(fired or found)[0].trigger]
        if not fired:
            return RetrainVerdict(
                outcome=RetrainOutcome.QUIET, reason=f"decided on {occasion} before", occasion=occasion, fired=found
            )
        rows = request.labelled_rows
        outcome, reason = self._weigh(request, fired, rows)
        return RetrainVerdict(
            outcome=outcome,
            reason=reason,
            occasion=occasion,
            fired=fired,
            labelled_rows=rows,
            orders=tuple(order.sequence for order in request.orders),
        )

    def _fired(self, request: RetrainRequest, regret: RegretStanding | None) -> tuple[Fired, ...]:
        """The triggers that fire, the strongest reason first."""
        since = max([request.champion_since, *request.started[-1:]])
        news = find_news(
            request.orders,
            request.data,
            request.code,
            champion=request.champion,
            since=since,
            rows_before=request.rows_before,
            now=request.now,
            config=self._triggers,
        )
        windows = find_fired(
            request.windows,
            champion_since=request.champion_since,
            now=request.now,
            config=self._triggers,
            regret=regret,
        )
        distrusted = () if windows else find_distrusted(request.windows, config=self._triggers)
        return (*news, *windows, *distrusted)

    def against_retry(self, request: RetrainRequest, *, ordered: bool = False) -> str | None:
        """Why a retraining whose run failed is not tried again yet: the budget is spent, or data is broken by now.

        Args:
            request: The inputs of the policy.
            ordered: Whether it answers an order, which broken data does not hold back.
        """
        broken = None if ordered else _broken(request)
        return broken or self._spent(request)

    def cooldown(self, rejections: int) -> timedelta:
        """Least time between two starts after so many rejections in a row."""
        limits = self._limits
        # The exponent is bounded, for the power would overflow long before anybody gives up.
        grown_s = limits.cooldown.total_seconds() * limits.backoff_factor ** min(rejections, 64)
        return max(limits.cooldown, timedelta(seconds=min(grown_s, limits.backoff_max.total_seconds())))

    def _weigh(self, request: RetrainRequest, fired: Sequence[Fired], rows: int) -> tuple[RetrainOutcome, str]:
        limits, reason = self._limits, "; ".join(each.reason for each in fired)
        ordered = any(each.trigger == ORDER for each in fired)
        broken = None if ordered else _broken(request)
        if broken is not None:
            return RetrainOutcome.BLOCK, broken
        wait = self.cooldown(request.rejections)
        if request.started and request.now - request.started[-1] < wait and not ordered:
            return RetrainOutcome.HOLD, f"cooling down until {(request.started[-1] + wait).isoformat()}: {reason}"
        spent = self._spent(request)
        if spent is not None:
            return RetrainOutcome.HOLD, f"{spent}: {reason}"
        if rows < limits.min_labelled_rows and not ordered:
            return RetrainOutcome.HOLD, f"{rows} labelled rows, {limits.min_labelled_rows} are needed: {reason}"
        return RetrainOutcome.RETRAIN, reason

    def _spent(self, request: RetrainRequest) -> str | None:
        limits = self._limits
        recent = sum(1 for at in request.started if request.now - at < limits.budget_period)
        return f"budget of {limits.budget_runs} runs is spent" if recent >= limits.budget_runs else None

    def _occasion(self, request: RetrainRequest) -> str:
        if request.windows:
            return f"{request.windows[-1].end:%Y%m%dT%H%M%SZ}"
        # No window, so only the age can have fired: a date on the grid it sets.
        max_age = self._triggers.max_age or timedelta(days=1)
        turns = (request.now - request.champion_since) // max_age
        return f"{request.champion_since + turns * max_age:%Y%m%dT%H%M%SZ}"


def _broken(request: RetrainRequest) -> str | None:
    """How the data of the newest window is broken; ``None`` where it is not."""
    newest = request.windows[-1] if request.windows else None
    if newest is None or newest.quality != "block":
        return None
    return f"data of the newest window is broken: {', '.join(newest.quality_reasons) or 'quality check failed'}"
