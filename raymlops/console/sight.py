"""The sight of a viewer: everything, or the models and environments that the key has grants over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raymlops.control.loop.fleet import without_other_models
from raymlops.errors import NotFoundError
from raymlops.records.bundles import BundleManifest
from raymlops.records.people.discovery import FeatureDescription, LineageEdge
from raymlops.records.runs import Run
from raymlops.records.serving.keys import ENVIRONMENT

if TYPE_CHECKING:
    from raymlops.console.sources import Sources
    from raymlops.control.loop.explaining.status import ControlStatus

__all__ = [
    "ALL",
    "Sight",
    "own_pipelines",
    "seen_bundles",
    "seen_definition",
    "seen_runs",
    "seen_status",
    "seen_subjects",
]

_BUNDLE = "bundle:"


@dataclass(frozen=True)
class Sight:
    """The part of the platform that the viewer of a page may see.

    Attributes:
        everything: Whether that is all there is.
        may_read: Whether a grant covers reading a model, or ``env/NAME``.
        targets: The models and environments that grants name, sorted; of use where not everything is seen.
    """

    everything: bool
    may_read: Callable[[str], bool]
    targets: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """The models that grants name."""
        return tuple(name for name in self.targets if not name.startswith(ENVIRONMENT))

    def model(self, name: str | None) -> bool:
        """Whether what is about a model is seen; of no model it is about all."""
        return self.everything or (name is not None and self.may_read(name))

    def environment(self, name: str) -> bool:
        """Whether what is about an environment is seen, whichever model it is of."""
        return self.everything or self.may_read(f"{ENVIRONMENT}{name}")


ALL = Sight(everything=True, may_read=lambda _: True)
"""Sight of a key that may read everything, and of all viewers where no key is needed."""


def seen_status(sight: Sight, status: ControlStatus) -> ControlStatus:
    """Status of a model, without the names of others that wait before it."""
    if sight.everything:
        return status
    return status.model_copy(update={"reasons": tuple(map(without_other_models, status.reasons))})


def own_pipelines(sight: Sight, models_of: Mapping[str, str]) -> dict[str, str]:
    """Pipeline -> model, of the models that are seen."""
    return {pipeline: model for pipeline, model in models_of.items() if sight.model(model)}


def seen_runs(sources: Sources, sight: Sight, runs: Iterable[Run]) -> list[Run]:
    """The runs that are seen: those of the bundles, or else of the pipelines, that train a model that is."""
    if sight.everything:
        return list(runs)
    live, models = sources.metadata.browser.models_of_pipelines(), dict[str | None, str | None]()

    def model_of(run: Run) -> str | None:
        if run.bundle not in models:
            manifest = None if run.bundle is None else _find_bundle(sources, run.bundle)
            models[run.bundle] = None if manifest is None else manifest.project.model
        return models[run.bundle] or live.get(run.pipeline)  # a pipeline may have trained another model before

    return [run for run in runs if sight.model(model_of(run))]


def seen_bundles(sources: Sources, sight: Sight, bundles: Iterable[BundleManifest]) -> list[BundleManifest]:
    """The bundles that are seen: those of a model that is, and those that are live in an environment that is."""
    if sight.everything:
        return list(bundles)
    deployed = sources.metadata.deployments.list_live_deployments()
    live = {each.bundle for each in deployed if sight.environment(each.environment)}
    return [bundle for bundle in bundles if sight.model(bundle.project.model) or bundle.digest in live]


def seen_subjects(sources: Sources, sight: Sight, subjects: Iterable[str]) -> list[str]:
    """The subjects of ledger entries that are seen: models, environments (``env/NAME``) and bundles (``bundle:ID``)."""

    def is_seen(subject: str) -> bool:
        if not subject.startswith(_BUNDLE):
            return sight.may_read(subject)
        manifest = _find_bundle(sources, subject.removeprefix(_BUNDLE))
        return manifest is not None and bool(seen_bundles(sources, sight, [manifest]))

    return [subject for subject in subjects if sight.everything or is_seen(subject)]


def seen_definition(sources: Sources, sight: Sight, name: str, environment: str | None = None) -> FeatureDescription:
    """A definition of features of an environment, and who uses it of those that are seen.

    Raises:
        NotFoundError: There is none, or the viewer may see none of its users.
    """
    try:
        found = sources.features.describe(name, environment)
    except NotFoundError as error:
        if sight.everything:
            raise
        raise NotFoundError(f"{name!r} is not applied", name=name) from error  # the cause names all there are
    if sight.everything:
        return found
    lineage = found.lineage.model_copy(update={"downstream": _leading_to(sight, found.lineage.downstream)})
    if not lineage.downstream:
        raise NotFoundError(f"{name!r} is not applied", name=name)
    return found.model_copy(update={"lineage": lineage})


def _leading_to(sight: Sight, downstream: Sequence[LineageEdge]) -> tuple[LineageEdge, ...]:
    """The edges on ways to models that are seen."""
    users = {edge.target for edge in downstream}
    kept = {
        one
        for one in users
        if one.kind in ("model", "endpoint") and sight.may_read(one.name.rpartition("@")[0] or one.name)
    }
    found: list[LineageEdge] = []
    while more := [edge for edge in downstream if edge.target in kept and edge not in found]:
        found += more
        kept |= {edge.source for edge in more}
    return tuple(edge for edge in downstream if edge in found)


def _find_bundle(sources: Sources, digest: str) -> BundleManifest | None:
    try:
        return sources.metadata.deployments.get_bundle(digest)
    except NotFoundError:
        return None
