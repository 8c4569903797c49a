"""Versions of models, and what serves them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from raymlops.records.models import AliasChange, ModelState, ModelVersion, StateChange
from raymlops.records.plans import ServingPlan

__all__ = ["ModelRegistry", "PlanStore"]


class ModelRegistry(Protocol):
    """Versions of models, their states and aliases, and the history of both."""

    def register_version(self, draft: ModelVersion, *, key: str) -> ModelVersion:
        """Give a draft the model's next version number and store it.

        Args:
            draft: With ``version`` 0 and state ``candidate``.
            key: Idempotency key within the model, for example the id of the run that made it.

        Returns:
            The version; where the key is known, the version first registered with it.

        Raises:
            DataError: The draft has a number or another state, or holds what has no JSON form.
        """
        ...

    def get_version(self, name: str, version: int) -> ModelVersion:
        """One version of a model.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def list_versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, oldest first; none where the model is unknown."""
        ...

    def list_models(self) -> list[str]:
        """Names of the models that have a version, sorted."""
        ...

    def trained_on(self, table: str, version: int | None = None) -> list[ModelVersion]:
        """Versions of any model whose training set was built from a table, at one version of it or at any.

        They are in order of model and version.
        """
        ...

    def set_state(
        self,
        name: str,
        version: int,
        state: ModelState,
        *,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> ModelVersion:
        """Move a version to another state, and keep why: for people, and as JSON values.

        Raises:
            ModelVersionNotFound: There is no such version.
            InvalidTransition: It would become a candidate again, or is retired.
            DataError: There is no such state, or the evidence has no JSON form.
        """
        ...

    def state_history(self, name: str, version: int) -> list[StateChange]:
        """All changes of a version's state, oldest first.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def set_mlflow_uri(self, name: str, version: int, uri: str | None) -> ModelVersion:
        """Note where MLflow holds the version.

        Raises:
            ModelVersionNotFound: There is no such version.
        """
        ...

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int | None,
        *,
        expected: int | None,
        reason: str,
        evidence: Mapping[str, object] | None = None,
    ) -> AliasChange:
        """Point an alias at a version, or at none, provided that it still points at ``expected``.

        The alias's last change, asked for again with the same ``version`` and ``expected``, is accepted and answered;
        so is pointing it where it points. A repeat that comes after somebody else has moved the alias on and back is
        applied again: compare-and-set cannot tell.

        Returns:
            The change as it stands in the history.

        Raises:
            StaleWrite: The alias points elsewhere: read again, then decide again.
            ModelVersionNotFound: There is no such version.
            DataError: The evidence has no JSON form.
            InvalidTransition: No alias points at the version yet, and its run does not vouch for it.
        """
        ...

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version, for the aliases that point at one."""
        ...

    def alias_history(self, name: str) -> list[AliasChange]:
        """All changes of the model's aliases, oldest first."""
        ...

    def serving_at(self, name: str, when: datetime) -> int | None:
        """The version that was ``champion`` at an instant, ``None`` where none was."""
        ...


class PlanStore(Protocol):
    """Serving plans, numbered per model from 1 without gaps; none is ever changed."""

    def put_plan(self, plan: ServingPlan) -> ServingPlan:
        """Add the next plan of a model.

        Raises:
            StaleWrite: The number is not the latest plan's plus one, and the plan is not equal to the one stored
                under it.
            InvalidTransition: A version that the latest plan did not serve came out of a run that does not vouch
                for it.
        """
        ...

    def find_plan(self, model: str) -> ServingPlan | None:
        """The latest plan of a model, ``None`` where it has none."""
        ...

    def get_plan(self, model: str) -> ServingPlan:
        """The latest plan of a model.

        Raises:
            DeploymentNotFound: It has none.
        """
        ...

    def plan_numbers(self) -> dict[str, int]:
        """Model -> number of its latest plan, by name; models that are served no more among them."""
        ...

    def served_plans(self) -> dict[str, ServingPlan]:
        """Model -> its latest plan, by name, of the models that are served: what is to be up."""
        ...

    def list_plans(self, model: str) -> list[ServingPlan]:
        """All plans of a model, by number."""
        ...
