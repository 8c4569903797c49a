"""Calls of a page to the parts of the platform: side by side, with a deadline; a failure is something to show."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar, cast

from raymlops.errors import DataError, LedgerBroken, NotFoundError, RaymlopsError, UnavailableError

__all__ = ["Asked", "Asking"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Asked(Generic[T]):
    """A call under way.

    Args:
        asking: Gives the deadline, and collects problems.
        who: The part that was asked, as the subject of a sentence: ``the monitor``.
        future: The call.
    """

    def __init__(self, asking: Asking, who: str, future: Future[T]) -> None:
        self._asking = asking
        self._who = who
        self._future = future
        self._told: tuple[T | None, str] | None = None

    def get(self) -> T | None:
        """The answer; ``None`` where there is none in time, and then the page says so.

        Raises:
            NotFoundError: What was asked about does not exist.
        """
        if self._told is None:
            self._told = self._wait()
            if self._told[1]:
                self._asking.problems.append(self._told[1])
        return self._told[0]

    def find(self) -> T | None:
        """As ``get``; ``None`` also where what was asked about does not exist."""
        try:
            return self.get()
        except NotFoundError:
            return None

    def need(self) -> T:
        """The answer, without which there is no page.

        Raises:
            NotFoundError: What was asked about does not exist.
            UnavailableError: There is no answer in time.
        """
        found = self.get()
        if self._told is not None and self._told[1]:
            raise UnavailableError(self._told[1])
        return cast("T", found)  # an answer of None is one

    def _wait(self) -> tuple[T | None, str]:
        left_s = max(self._asking.deadline - time.monotonic(), 0.0)
        try:
            return self._future.result(left_s), ""
        except (NotFoundError, DataError, LedgerBroken):
            raise  # the part has answered: that there is none, that the question is wrong, or that the ledger is
        except RaymlopsError as error:
            return None, f"{self._who} cannot say: {error}"
        except TimeoutError:
            self._future.cancel()
            return None, f"{self._who} did not answer within {self._asking.deadline_s:g} s"
        except Exception as error:  # whatever it is: the rest of the page is shown
            _log.exception("%s failed for the console", self._who)
            return None, f"{self._who} failed: {type(error).__name__}; the log of the gateway tells more"


class Asking:
    """The calls of one page. Start all of them before you take the first answer.

    Args:
        pool: Runs the calls.
        deadline_s: From now until all must be answered.
    """

    def __init__(self, pool: Executor, deadline_s: float) -> None:
        self._pool = pool
        self.deadline_s = deadline_s
        self.deadline = time.monotonic() + deadline_s
        self.problems: list[str] = []
        """The parts that did not answer, in words."""

    def extend(self, deadline_s: float) -> None:
        """Give the calls of this page so long from now on: for a page that is known to be slow."""
        self.deadline_s = deadline_s
        self.deadline = time.monotonic() + deadline_s

    def __call__(self, who: str, call: Callable[..., T], *args: object, **kwargs: object) -> Asked[T]:
        """Begin a call.

        Args:
            who: The part that is asked, as the subject of a sentence.
            call: Called with the other arguments, in a thread.
            args: Of the call.
            kwargs: Of the call.
        """
        return Asked(self, who, self._pool.submit(call, *args, **kwargs))
