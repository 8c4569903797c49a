"""What there is one of for each environment, and which environments have features on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from raymlops.config.features import FeaturePlace

__all__ = ["PerEnvironment", "environments_in"]


def environments_in(home_place: FeaturePlace) -> list[str]:
    """The other environments that have features on this machine, by name.

    Args:
        home_place: Where the features of the platform's own environment are.
    """
    directory = home_place.local / "environments"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


class PerEnvironment(Generic[T]):
    """One of a kind for each environment, opened when it is first asked for. Thread-safe.

    Args:
        open_one: Opens that of an environment; ``None``: the platform's own.
    """

    def __init__(self, open_one: Callable[[str | None], T]) -> None:
        self._open = open_one
        self._lock = threading.Lock()
        self._opened: dict[str | None, T] = {}

    def of(self, environment: str | None = None) -> T:
        """That of an environment; raises what opening it raises, and tries again at the next call."""
        found = self._opened.get(environment)
        if found is not None:
            return found
        with self._lock:
            if environment not in self._opened:
                self._opened[environment] = self._open(environment)
            return self._opened[environment]

    def opened(self, environment: str | None) -> bool:
        """Whether that of an environment was opened."""
        return environment in self._opened

    def drop(self, environment: str, then: Callable[[], None] | None = None) -> None:
        """Close that of an environment, and do something before it can be opened again."""
        with self._lock:
            found = self._opened.pop(environment, None)
            if found is not None:
                found.close()
            if then is not None:
                then()

    def close(self) -> None:
        """Close all that were opened."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()
