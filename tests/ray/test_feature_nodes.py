"""Online features on three nodes, and what a reader says where the tables are not."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.config.features import FeaturesConfig
from raymlops.config.platform import PlatformConfig
from raymlops.errors import FeatureViewNotFound, NotFoundError, StorageError
from raymlops.features import Entity, FeatureService, FeatureView, Field
from tests.support.point_in_time import table_of

pytestmark = pytest.mark.ray

_MARKER = "RAYMLOPS_TEST_NODES"
_DEADLINE_S = 240
T = datetime(2024, 3, 1, 12, tzinfo=UTC)
SALES = FeatureView("sales", Entity("shop", ["shop"]), [Field("amount", "float64")])
SPINE = pa.table({"shop": ["a", "b"], "event_time": pa.array([T] * 2, pa.timestamp("us", tz="UTC"))})


def _left_behind(marker: str, directory: Path) -> list[psutil.Process]:
    """Processes of the story: by their environment, which some of Ray's overwrite, or by the directory they name."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARKER) == marker or str(directory) in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture
def short_directory() -> Iterator[Path]:
    # Ray's unix sockets are in it, and the path of one has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rml-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.mark.slow
def test_three_nodes(tmp_path: Path, short_directory: Path) -> None:
    """In a process of its own: this one's cluster forbids it a second one."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    marker = uuid.uuid4().hex
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    environment = {**inherited, _MARKER: marker, "RAY_TMPDIR": str(short_directory), "PYTHONUNBUFFERED": "1"}
    program = Path(__file__).with_name("feature_nodes.py")
    command = [sys.executable, str(program), str(tmp_path / "home"), str(token)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        story = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[2]
        )
        try:
            code = story.wait(_DEADLINE_S)
        finally:
            story.kill()
            story.wait(10)
            left = _left_behind(marker, short_directory)
            _, stayed = psutil.wait_procs(left, timeout=10)
            for process in stayed:
                with contextlib.suppress(psutil.Error):
                    process.kill()
    assert code == 0, log.read_text(errors="replace")[-6000:]
    assert log.read_text(errors="replace").rstrip().endswith(" told")
    assert stayed == []


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Any]:
    from raymlops.features.replication.leader import LeadingStore

    store = LeadingStore(tmp_path / "writer", clock=ManualClock(T))
    store.apply(SALES, FeatureService("s", ["sales:amount"]))
    store.push("sales", table_of(SALES, [{"shop": "a", "event_time": T, "amount": 1.0}]), ingest_id="one")
    yield store
    store.close()


def test_reads_of_the_past_need_the_tables(writer: Any, tmp_path: Path) -> None:
    from raymlops.runtime.nodes.feature_readers import ReaderElsewhere

    config = PlatformConfig(home=tmp_path / "elsewhere")
    reader = ReaderElsewhere(config, None, "n2", writer)
    reads: list[Callable[[], Any]] = [
        lambda: reader.training_set("s", SPINE, name="t"),
        lambda: reader.features_at("s", SPINE),
        lambda: reader.table("sales"),
        reader.table_versions,
    ]
    for read in reads:
        with pytest.raises(StorageError, match=r"table 'sales' is not in \S+/elsewhere/features on node n2: .* shared"):
            read()
    with pytest.raises(FeatureViewNotFound):
        reader.training_set("nobody", SPINE, name="t")
    assert not (tmp_path / "elsewhere").exists()


def test_a_shared_root_is_read_from_any_node(writer: Any, tmp_path: Path) -> None:
    from raymlops.runtime.nodes.feature_readers import ReaderElsewhere

    config = PlatformConfig(home=tmp_path / "elsewhere", features=FeaturesConfig(root=str(tmp_path / "writer")))
    reader = ReaderElsewhere(config, None, "n2", writer)
    assert reader.features_at("s", SPINE)["sales__amount"].to_pylist() == [1.0, None]
    assert reader.training_set("s", SPINE, name="t").table().num_rows == 2
    assert reader.table_versions() == {"sales": 0}
    with pytest.raises(NotFoundError):
        reader.table("sales", version=7)
