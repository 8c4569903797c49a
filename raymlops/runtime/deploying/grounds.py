"""What deploying a bundle needs: features, a run, a rehearsal, and whoever puts models in service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from raymlops.config.delivery import EnvironmentRules
from raymlops.delivery.load_test import LoadReport
from raymlops.records.bundles import BundleManifest, ProjectSpec
from raymlops.records.features import IngestReceipt
from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run
from raymlops.records.serving.orders import Order

if TYPE_CHECKING:
    from raymlops.features import Definition, FeatureStore

__all__ = ["Grounds", "Orders"]


class Orders(Protocol):
    """Changes what is served; ``EndpointOrders`` fits it."""

    def serve(
        self, order: Order, name: str, version: int, *, features: str | None = None, replicas: int | None = None
    ) -> ServingPlan:
        """Serve a version as champion; an order that is given again counts once."""
        ...

    def withdraw(self, order: Order, name: str) -> bool:
        """See to it that an order to serve is carried out no more; returns whether it was before."""
        ...

    def undeploy(self, name: str, *, reason: str = "on demand") -> ServingPlan:
        """Serve a model no more."""
        ...


class Grounds(Protocol):
    """Where bundles are deployed."""

    def store(self, environment: str) -> FeatureStore:
        """The features of an environment."""
        ...

    def fill(self, environment: str, source: str) -> Sequence[IngestReceipt]:
        """Copy rows of another environment into the tables of one that have none."""
        ...

    def tables_in(self, environment: str) -> tuple[str, ...] | None:
        """Feature tables of an environment that have rows; ``None``: it has no features."""
        ...

    def remove_features(self, environment: str) -> None:
        """Remove all features of an environment that nothing runs in; may be called again."""
        ...

    def stop_runs(self, environment: str, reason: str) -> None:
        """End the runs that are under way in an environment."""
        ...

    @property
    def endpoints(self) -> Orders:
        """What is served."""
        ...

    def definitions(self, manifest: BundleManifest) -> Sequence[Definition]:
        """What a bundle defines; its code is imported."""
        ...

    def lock(self, manifest: BundleManifest) -> bytes:
        """The packages of a bundle.

        Raises:
            NotFoundError: The file is gone.
        """
        ...

    def require_fit(self, manifest: BundleManifest) -> None:
        """Raises ``DeploymentError`` where this platform cannot run a bundle."""
        ...

    def run(self, manifest: BundleManifest, pipeline: str, environment: str, rules: EnvironmentRules) -> Run:
        """Run a bundle's pipeline once.

        Raises:
            DeploymentError: It came to no version.
        """
        ...

    def service_of(self, version: ModelVersion) -> str | None:
        """The feature service that a version was trained on."""
        ...

    def ask(
        self, version: ModelVersion, project: ProjectSpec, service: str | None, rules: EnvironmentRules, order: Order
    ) -> LoadReport | None:
        """Serve a version under the name of a rehearsal, and ask it; see ``Rehearsal.ask``."""
        ...
