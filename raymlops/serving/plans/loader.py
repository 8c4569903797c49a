"""Loads a serving plan: its model versions, verified and warm, in one immutable value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import orjson

from raymlops.errors import DeploymentError, ModelLoadFailed
from raymlops.flavors.protocol import Columns, Outputs
from raymlops.records.models import ModelRegistry, ModelVersion
from raymlops.records.plans import Role, ServingPlan
from raymlops.serving.models.model import BrokenModel, Model
from raymlops.serving.models.model_files import Parity, load_checked
from raymlops.serving.plans.baseline import check_baseline, constant_outputs
from raymlops.serving.plans.rehearsal import rehearse
from raymlops.serving.protocol.instances import InstanceSchema
from raymlops.serving.protocol.protocols import CandidateClient, Candidates, FeaturePlans

__all__ = ["Loaded", "Loader", "ModelFiles", "Serving", "load_version"]

_log = logging.getLogger(__name__)


class ModelFiles(Protocol):
    """Finds a model version's files on this node. Called off the event loop; may block."""

    def directory(self, version: ModelVersion) -> Path:
        """The version's directory.

        Raises:
            ModelLoadFailed: Its files cannot be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model version.

    Attributes:
        parity: What it answered when it was packaged; ``None`` where it is broken.
        nbytes: Size of its files.
    """

    model_name: str
    version: int
    digest: str
    model: Model
    parity: Parity | None = None
    nbytes: int = 0

    @property
    def broken(self) -> bool:
        """Whether its files could not be loaded."""
        return isinstance(self.model, BrokenModel)

    def problem(self, recorded: Sequence[Columns] = ()) -> str | None:
        """What is wrong with its answers to its example and to recorded requests; ``None`` if nothing. Blocks."""
        if isinstance(self.model, BrokenModel):
            return str(self.model.error)
        try:
            holds = self.parity is None or self.parity.holds(self.model)
        except Exception as error:
            return f"its example: raised {type(error).__name__}: {str(error)[:200]}"
        return rehearse(self.model, recorded) if holds else "it answers its example in another way than when packaged"

    def metadata(self, versions: tuple[int, ...]) -> bytes:
        """The Open Inference Protocol's model metadata, as JSON."""
        return orjson.dumps(
            {
                "name": self.model_name,
                "versions": [str(version) for version in versions],
                "platform": "raymlops",
                "inputs": self.model.schema.input_metadata(),
                "outputs": self.model.schema.output_metadata(),
            }
        )


@dataclass(frozen=True, slots=True)
class Serving:
    """A loaded serving plan. Immutable; a request holds one from its start to its end.

    Attributes:
        plan: What is served.
        champion: Answers.
        backup: Answers where the champion cannot.
        versions: Every version in process, by number.
        instances: Reads predict requests.
        candidate: The version on trial, if any.
        plan_json: The plan, encoded.
        metadata_json: Version -> its model metadata, encoded.
    """

    plan: ServingPlan
    champion: Loaded
    backup: Loaded | None
    versions: Mapping[int, Loaded]
    instances: InstanceSchema
    candidate: CandidateClient | None
    plan_json: bytes
    metadata_json: Mapping[int, bytes]

    def role_of(self, version: int) -> Role:
        """The role a version in process has under the plan."""
        return "champion" if version == self.champion.version else "backup"

    def baseline(self, rows: int) -> Outputs | None:
        """The declared constant answer for N rows; ``None`` where none was declared."""
        declared = self.plan.baseline
        return None if declared is None else constant_outputs(declared, self.champion.model.signature, rows)


def load_version(versions: ModelRegistry, name: str, version: int, files: ModelFiles | None = None) -> Loaded:
    """Load one version, verified and warm. Blocks.

    Args:
        versions: Where it is looked up.
        name: The model.
        version: The version.
        files: Where its files are on this node; where they were registered, if left out.

    Raises:
        ModelVersionNotFound: There is no such version.
        ModelLoadFailed: Its files are missing, altered or not loadable.
    """
    record = versions.get_version(name, version)
    directory = Path(record.path) if files is None else files.directory(record)
    model, parity = load_checked(directory, record.manifest, record.digest)
    nbytes = sum((directory / file).stat().st_size for file in record.manifest.files)
    return Loaded(name, version, record.digest, model, parity, nbytes)


class Loader:
    """Builds servings. Thread-safe; blocks, so it runs off the event loop.

    Args:
        versions: Where versions are looked up.
        features: Compiles online joins; needed by plans that name a feature service.
        candidates: Reaches versions on trial; needed by plans that hold one.
        files: Where model files are on this node; where they were registered, if left out.
        watch: Put around each loaded model, to see its calls.
    """

    def __init__(
        self,
        versions: ModelRegistry,
        features: FeaturePlans | None = None,
        candidates: Candidates | None = None,
        files: ModelFiles | None = None,
        watch: Callable[[Model], Model] | None = None,
    ) -> None:
        self._files = files
        self._watch = watch
        self._versions = versions
        self._features = features
        self._candidates = candidates

    def load(self, plan: ServingPlan, current: Serving | None = None, recorded: Sequence[Columns] = ()) -> Serving:
        """Build the serving of a plan; versions that ``current`` holds are not loaded again.

        What is new answers its example as when it was packaged, and the recorded requests, before it is taken. A
        champion that cannot be loaded, or does not answer them, is refused where something is serving already. Where
        nothing is, as after a restart, the backup answers for it, or the baseline. A backup that cannot be loaded never
        keeps a good champion from serving.

        Args:
            plan: What is to be served.
            current: What is.
            recorded: Requests that were answered lately.

        Raises:
            ModelVersionNotFound: The plan names a version that does not exist.
            ModelLoadFailed: The champion cannot be loaded.
            DataError: The baseline is no answer of the champion.
            DeploymentError: The plan needs something that this process was not given.
        """
        champion = self._champion(plan, current, recorded)
        if plan.baseline is not None:
            check_baseline(plan.baseline, champion.model.signature)
        backup = None
        if plan.backup is not None and plan.backup != plan.champion:
            backup = self._lenient(plan.model, plan.backup, current, recorded)
        versions = {loaded.version: loaded for loaded in (champion, backup) if loaded is not None}
        others = [backup.model.signature] if backup is not None else []
        if plan.trial is not None:
            others.append(self._versions.get_version(plan.model, plan.trial.version).manifest.signature)
        online = None
        if plan.service is not None:
            if self._features is None:
                raise DeploymentError(f"plan {plan.number} of {plan.model!r} needs features, and there is no store")
            online = self._features.plan(plan.service, plan.environment)
        numbers = tuple(versions)
        return Serving(
            plan=plan,
            champion=champion,
            backup=backup,
            versions=MappingProxyType(versions),
            instances=InstanceSchema(champion.model.schema, online, others),
            candidate=self._candidate(plan),
            plan_json=plan.model_dump_json().encode(),
            metadata_json=MappingProxyType({number: versions[number].metadata(numbers) for number in numbers}),
        )

    def _candidate(self, plan: ServingPlan) -> CandidateClient | None:
        if plan.trial is None:
            return None
        if self._candidates is None:
            raise DeploymentError(
                f"plan {plan.number} of {plan.model!r} holds a trial, and no candidate can be reached"
            )
        return self._candidates.client(plan.model, plan.trial.version)

    def _champion(self, plan: ServingPlan, current: Serving | None, recorded: Sequence[Columns]) -> Loaded:
        if current is None and (plan.backup is not None or plan.baseline is not None):
            return self._lenient(plan.model, plan.champion, None, recorded)
        return self._loaded(plan.model, plan.champion, current, recorded)

    def _loaded(self, model: str, version: int, current: Serving | None, recorded: Sequence[Columns]) -> Loaded:
        reused = self._reused(model, version, current)
        if reused is not None:
            return reused
        loaded = load_version(self._versions, model, version, self._files)
        if self._watch is not None:
            loaded = replace(loaded, model=self._watch(loaded.model))
        problem = rehearse(loaded.model, recorded)
        if problem is not None:
            raise ModelLoadFailed(f"model {model} version {version} does not answer: {problem}")
        return loaded

    def _lenient(self, model: str, version: int, current: Serving | None, recorded: Sequence[Columns]) -> Loaded:
        """The version, or a stand-in that raises its error at each prediction."""
        try:
            return self._loaded(model, version, current, recorded)
        except ModelLoadFailed as error:
            _log.error("model %s version %d is broken: %s", model, version, error)
            record = self._versions.get_version(model, version)
            return Loaded(model, version, record.digest, BrokenModel(record.manifest.signature, error))

    def _reused(self, model: str, version: int, current: Serving | None) -> Loaded | None:
        """The versions that are loaded already, to be reused: a version never changes."""
        if current is None or current.plan.model != model:
            return None
        loaded = current.versions.get(version)
        return None if loaded is None or loaded.broken else loaded
