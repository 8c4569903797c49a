"""Opens what scores parts of a plan, in whichever process that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import catalog_path
from raymlops.features.offline.service_join import JoinTasks
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.models import ModelManifest
from raymlops.records.scoring import ScoringPlan
from raymlops.scoring.inputs import FeatureJoin
from raymlops.scoring.output import OutputTable
from raymlops.scoring.scorer import PartScorer
from raymlops.scoring.sources import RowSource
from raymlops.serving.models.model_files import load_model
from raymlops.tables.files import Root

__all__ = ["ScorerSetting", "open_scorer"]


@dataclass(frozen=True)
class ScorerSetting:
    """Where a process finds what it needs to score. Picklable.

    Attributes:
        plan: What is scored.
        directory: Of the version's packaged files.
        manifest: Of these files.
        root: Of the feature store.
        storage_options: Options of the object store, of features, source and output alike.
        reference: Of the version's inputs.
    """

    plan: ScoringPlan
    directory: Path
    manifest: ModelManifest
    root: Root
    storage_options: Mapping[str, str]
    reference: Reference | None = None

    def join(self, tasks: JoinTasks | None = None) -> FeatureJoin | None:
        """Joins the plan's features; ``None`` where it has none.

        Raises:
            FeatureViewNotFound: The service is not applied.
        """
        if self.plan.service is None:
            return None
        state = Catalog(catalog_path(self.root), self.storage_options).state()
        return FeatureJoin(
            state.resolve(self.plan.service),
            self.root,
            self.plan.table_versions,
            storage_options=self.storage_options,
            at=self.plan.at,
            tasks=tasks,
        )


def open_scorer(setting: ScorerSetting, tasks: JoinTasks | None = None) -> PartScorer:
    """Open the source, load the model, verified and warm as for serving, and compile the join.

    Args:
        setting: Where everything is.
        tasks: How large joins are run.

    Raises:
        ModelLoadFailed: The files are not those of the manifest, or cannot be loaded.
        RaymlopsError: As source and feature store do.
    """
    plan = setting.plan
    return PartScorer(
        plan,
        RowSource(plan.source, setting.storage_options),
        load_model(setting.directory, setting.manifest, plan.digest),
        setting.join(tasks),
        setting.reference,
        OutputTable(plan.output, setting.storage_options).files,
    )
