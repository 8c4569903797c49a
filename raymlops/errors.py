"""The error tree of RayMLOps.

::

    RaymlopsError
    ├─ ConfigError            a file, an option or an environment is wrong: fix it
    ├─ NotFoundError          what was named does not exist
    │  ├─ FeatureViewNotFound
    │  ├─ RunNotFound
    │  ├─ ModelVersionNotFound
    │  └─ DeploymentNotFound
    ├─ ConflictError          what was asked clashes with what is there
    │  ├─ AlreadyRegistered
    │  ├─ InvalidTransition
    │  └─ StaleWrite
    ├─ DataError              the data given is wrong
    │  ├─ SchemaMismatch
    │  └─ NotEnoughRows
    ├─ TrainingError          a run could not produce a model
    │  └─ NoViableModel
    ├─ DeploymentError        a model could not be served
    │  ├─ ModelLoadFailed
    │  └─ SwapFailed
    ├─ DeadlineExceeded       work took longer than it may: it was ended
    ├─ AccessDenied           the caller may not do that
    │  ├─ Unauthenticated
    │  └─ Forbidden
    ├─ LedgerBroken           the ledger's hash chain does not hold
    ├─ StorageError           (retryable) a backend failed; raised ``from`` its own error
    └─ UnavailableError       (retryable) a process did not answer in time
       └─ Overloaded           it has more to do than it takes on: ask again later

No subclass overrides ``__init__``: an exception with required arguments pickles but does not unpickle, and every error
here crosses process borders. Across a Ray hop ``args`` is replaced: read ``context``, never ``args``.
"""

from __future__ import annotations

from typing import Self

__all__ = [
    "AccessDenied",
    "AlreadyRegistered",
    "ConfigError",
    "ConflictError",
    "DataError",
    "DeadlineExceeded",
    "DeploymentError",
    "DeploymentNotFound",
    "FeatureViewNotFound",
    "Forbidden",
    "InvalidTransition",
    "LedgerBroken",
    "ModelLoadFailed",
    "ModelVersionNotFound",
    "NoViableModel",
    "NotEnoughRows",
    "NotFinite",
    "NotFoundError",
    "Overloaded",
    "RaymlopsError",
    "RunNotFound",
    "SchemaMismatch",
    "StaleWrite",
    "StorageError",
    "SwapFailed",
    "TrainingError",
    "Unauthenticated",
    "UnavailableError",
]


class RaymlopsError(Exception):
    """Base of all errors a caller may catch.

    Args:
        message: One line: what was named, the rule it breaks, the value got.
        context: Facts about the failure, for programs to read.
    """

    retryable = False

    def __init__(self, message: str = "", **context: object) -> None:
        super().__init__(message)
        self.context = context

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self), self.context))


def _rebuild(cls: type[RaymlopsError], message: str, context: dict[str, object]) -> RaymlopsError:
    return cls(message, **context)


class ConfigError(RaymlopsError):
    """A file, an option or the environment is wrong."""


class NotFoundError(RaymlopsError):
    """What was named does not exist."""


class FeatureViewNotFound(NotFoundError):
    """No such feature view, service or field is applied."""


class RunNotFound(NotFoundError):
    """No run has this id."""


class ModelVersionNotFound(NotFoundError):
    """No such model, or it has no such version."""

    @classmethod
    def of(cls, name: str, version: int | None = None) -> Self:
        """Build the error for model ``name`` and, where given, ``version``."""
        what = f"model {name!r}" if version is None else f"model {name!r} version {version}"
        return cls(f"{what} does not exist", name=name, version=version)


class DeploymentNotFound(NotFoundError):
    """The model has no endpoint."""

    @classmethod
    def of(cls, name: str) -> Self:
        """Build the error for the endpoint of model ``name``."""
        return cls(f"model {name!r} is not deployed", name=name)


class ConflictError(RaymlopsError):
    """What was asked clashes with what is there."""


class AlreadyRegistered(ConflictError):
    """The name is taken by something different."""


class InvalidTransition(ConflictError):
    """The present state does not allow this step."""


class StaleWrite(ConflictError):
    """Somebody else wrote first: read again, then decide again."""


class DataError(RaymlopsError):
    """The data given is wrong."""


class SchemaMismatch(DataError):
    """Columns or types are not the declared ones."""


class NotEnoughRows(DataError):
    """Too few rows for what was asked."""


class TrainingError(RaymlopsError):
    """A run could not produce a model."""


class NoViableModel(TrainingError):
    """Every trial failed, or none reached the bar."""


class DeploymentError(RaymlopsError):
    """A model could not be served."""


class ModelLoadFailed(DeploymentError):
    """A model's files are missing, altered or not loadable."""


class NotFinite(DeploymentError):
    """A model answered NaN or infinity."""


class SwapFailed(DeploymentError):
    """Not every replica took the new plan before the deadline."""


class DeadlineExceeded(RaymlopsError):
    """Work took longer than it may, and was ended."""


class AccessDenied(RaymlopsError):
    """The caller may not do that."""


class Unauthenticated(AccessDenied):
    """The caller did not show a valid API key."""


class Forbidden(AccessDenied):
    """The caller's API key does not cover this."""


class LedgerBroken(RaymlopsError):
    """The ledger's hash chain does not hold: an entry was altered, removed or reordered."""


class StorageError(RaymlopsError):
    """A backend failed: disk full, database locked, file corrupt. The message names the file."""

    retryable = True


class UnavailableError(RaymlopsError):
    """A process did not answer before the deadline, or died."""

    retryable = True


class Overloaded(UnavailableError):
    """There is more to do than is taken on; asking again later may help."""
