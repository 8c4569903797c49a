"""Cards of model versions that came out of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raymlops.errors import NotFoundError
from raymlops.metadata import Metadata
from raymlops.pipelines.artifacts import ArtifactRef, ArtifactStore

__all__ = ["model_card"]


def model_card(home: Path, metadata: Metadata, name: str, version: int) -> tuple[dict[str, Any], str]:
    """The card of a version, as JSON values and as a page.

    Raises:
        NotFoundError: The version was registered by hand, or its run made no card, or the card is gone.
    """
    run_id = metadata.models.get_version(name, version).run_id
    if run_id is None:
        raise NotFoundError(f"version {version} of {name!r} was registered by hand and has no card")
    made = [step.outputs for step in metadata.runs.get_run(run_id).steps if step.step == "card" and step.outputs]
    if not made:
        raise NotFoundError(f"run {run_id} of version {version} of {name!r} made no card", run_id=run_id)
    artifacts = ArtifactStore(home / "artifacts")
    values = artifacts.get(ArtifactRef(digest=made[-1]["card"], kind="json"))
    return values, artifacts.get(ArtifactRef(digest=made[-1]["page"], kind="bytes")).decode()
