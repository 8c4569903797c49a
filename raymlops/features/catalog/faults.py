"""Faults of definitions that are to be applied together, collected and raised as one error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from raymlops.errors import AlreadyRegistered, ConfigError, FeatureViewNotFound, RaymlopsError, SchemaMismatch

__all__ = ["Faults"]

_GRAVITY: Sequence[type[RaymlopsError]] = (AlreadyRegistered, FeatureViewNotFound, ConfigError)
"""The class of the joint error, the first that fits: a definition would be replaced, or a reference leads nowhere."""


class Faults:
    """Errors in the order they were found."""

    def __init__(self) -> None:
        self.errors: list[RaymlopsError] = []

    def add(self, message: str) -> None:
        """Note a definition that does not fit."""
        self.errors.append(ConfigError(message))

    @contextmanager
    def noted(self, owner: str | None = None) -> Iterator[None]:
        """Collect an error that is raised within, under the name of its definition, and go on."""
        try:
            yield
        except SchemaMismatch as error:
            self.errors.append(ConfigError(_owned(owner, error), **error.context))
        except (AlreadyRegistered, FeatureViewNotFound, ConfigError) as error:
            self.errors.append(type(error)(_owned(owner, error), **error.context))

    @property
    def messages(self) -> list[str]:
        """All of them, as text."""
        return [str(error) for error in self.errors]

    def raise_if_any(self) -> None:
        """Raise one error that lists all faults, if there are any.

        Raises:
            AlreadyRegistered: a definition differs from the one of its name and version.
            FeatureViewNotFound: none does, but one refers to what is not applied.
            ConfigError: neither, but one does not fit what it refers to. ``context["faults"]`` has every message.
        """
        if not self.errors:
            return
        if len(self.errors) == 1:
            (only,) = self.errors
            raise type(only)(str(only), **{**only.context, "faults": self.messages})
        gravest = min((type(error) for error in self.errors), key=_GRAVITY.index)
        raise gravest(f"{len(self.errors)} faults: " + "; ".join(self.messages), faults=self.messages)


def _owned(owner: str | None, error: RaymlopsError) -> str:
    return str(error) if owner is None else f"{owner}: {error}"
