"""A disk that takes no more: a clear error that names the file, nothing half written, and all goes on afterwards."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.clock import SystemClock
from raymlops.errors import StorageError
from raymlops.metadata import MetadataService
from raymlops.pipelines import ArtifactStore, Pipeline, PipelineRunner, Step
from raymlops.records.runs import RunStatus, StepStatus

MIB = 1 << 20


@contextmanager
def _files_of(most_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond a size: a write past it fails as on a full disk, for root, too."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


def _directory(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "small.json").write_text("{}")
    (directory / "large.bin").write_bytes(bytes(4 * MIB))
    return directory


@pytest.mark.parametrize("kind", ["bytes", "json", "arrow", "directory"])
def test_an_artifact_that_does_not_fit_leaves_nothing(tmp_path: Path, kind: Any) -> None:
    values = {
        "bytes": bytes(4 * MIB),
        "json": ["x" * 1024] * 4096,
        "arrow": pa.table({"x": np.arange(MIB, dtype=np.float64)}),
        "directory": _directory(tmp_path),
    }
    store = ArtifactStore(tmp_path / "artifacts")
    with _files_of(MIB), pytest.raises(StorageError, match=r"artifact file .*artifacts") as caught:
        store.put(kind, values[kind])
    assert caught.value.retryable
    assert [path.name for path in (tmp_path / "artifacts").rglob("*")] == ["tmp"], "nothing half written is there"
    assert ArtifactStore(tmp_path / "artifacts").verify(store.put(kind, values[kind]))


def _make(context: object) -> dict[str, Any]:
    return {"rows": pa.table({"x": np.arange(MIB, dtype=np.float64)})}


def _count(context: object, *, rows: pa.Table) -> dict[str, Any]:
    return {"result": {"rows": rows.num_rows}}


PIPELINE = Pipeline(
    "p", [Step("make", _make, {"rows": "arrow"}), Step("count", _count, {"result": "json"}, {"rows": "make.rows"})],
    "count.result",
)  # fmt: skip


def test_a_run_fails_on_a_full_disk_and_is_resumed_when_there_is_room(tmp_path: Path) -> None:
    with closing(MetadataService(tmp_path / "metadata.db")) as metadata:
        waits: list[float] = []
        runner = PipelineRunner(tmp_path / "artifacts", metadata, SystemClock(), sleep=waits.append)
        with _files_of(2 * MIB), pytest.raises(StorageError, match="artifact file"):
            runner.run(PIPELINE, {}, run_id="r1")
        assert len(waits) == 2, "a disk may get room again: it is tried again, a few times"
        failed = metadata.runs.get_run("r1")
        assert failed.status is RunStatus.FAILED
        assert "artifact file" in str(failed.error)
        assert {step.status for step in failed.steps} == {StepStatus.FAILED}
        assert runner.run(PIPELINE, {}, run_id="r2", resume_of="r1").result == {"rows": MIB}


def _fill(service: MetadataService) -> None:
    for number in range(4096):
        service.ledger.append_entry("churn", "note", "x" * 1024, key=str(number))


def test_a_store_whose_files_cannot_grow_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    with closing(MetadataService(path)) as service:
        with _files_of(MIB), pytest.raises(StorageError, match=r"metadata\.db"):
            _fill(service)
        acknowledged = len(service.ledger.entries())
        assert acknowledged > 10
    with closing(MetadataService(path)) as service:
        assert service.ledger.verify_ledger() >= acknowledged
        service.ledger.append_entry("churn", "note", "goes on", key="next")
        assert service.ledger.verify_ledger() == len(service.ledger.entries())
