"""What runs and artifacts belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from raymlops.records.artifacts import Artifact, Context

__all__ = ["ContextStore"]


class ContextStore(Protocol):
    """Contexts, and the runs and artifacts in them; each may be in any number."""

    def put_context(self, kind: str, name: str, metadata: Mapping[str, object] | None = None) -> Context:
        """Record a context.

        Returns:
            The context; where kind and name are known, as first recorded.

        Raises:
            DataError: The metadata has no JSON form.
        """
        ...

    def add_to_context(self, kind: str, name: str, *, run_ids: Sequence[str] = (), digests: Sequence[str] = ()) -> None:
        """Put runs and artifacts into a context, all or none; those that are in it stay.

        Raises:
            NotFoundError: There is no such context, or an artifact is not recorded.
            RunNotFound: No run has one of the ids.
        """
        ...

    def list_contexts(
        self, kind: str | None = None, *, run_id: str | None = None, digest: str | None = None
    ) -> list[Context]:
        """Contexts in the order they were recorded: of one kind, with one run, with one artifact, or all."""
        ...

    def context_runs(self, kind: str, name: str) -> list[str]:
        """Ids of the runs in a context, newest first; none where it is unknown."""
        ...

    def context_artifacts(self, kind: str, name: str) -> list[Artifact]:
        """The artifacts in a context, in the order they were recorded; none where it is unknown."""
        ...
