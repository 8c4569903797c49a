"""A home that version 0.1 wrote, opened by the present code: every record, table and file is what it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import create_engine, text

from raymlops.clock import ManualClock
from raymlops.delivery.verify import verify_bundle
from raymlops.features import FeatureReader, FeatureStore
from raymlops.metadata import MetadataService
from raymlops.metadata.sql.schema import REVISION
from raymlops.monitoring import DeltaEventTables
from raymlops.serving.plans.loader import load_version
from tests.support.home_of_0_1 import MODEL, said_of, table_facts

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests" / "data" / "home-0.1.tar.xz"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(place, filter="data")
    return place / "home"


@pytest.fixture(scope="module")
def facts(unpacked: Path) -> dict[str, Any]:
    """What version 0.1 said of the home."""
    found: dict[str, Any] = json.loads((unpacked / "facts.json").read_text())
    return found


@pytest.fixture
def home(unpacked: Path, tmp_path: Path) -> Path:
    """A copy of the home, at another place than it was made at."""
    return shutil.copytree(unpacked, tmp_path / "home")


@pytest.fixture
def metadata(home: Path) -> Iterator[MetadataService]:
    with closing(MetadataService(home / "metadata.db", home=home)) as opened:
        yield opened


def lost(before: Any, now: Any, where: str = "") -> list[str]:
    """Where a value of before is no longer what it was; what a newer release adds is no loss."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        gone = [f"{where}.{key}" for key in before if key not in now and before[key] is not None]
        return gone + [each for key in before if key in now for each in lost(before[key], now[key], f"{where}.{key}")]
    if isinstance(before, Sequence) and isinstance(now, Sequence) and not isinstance(before, str):
        if len(before) != len(now):
            return [f"{where}: {len(before)} before, {len(now)} now"]
        pairs = enumerate(zip(before, now, strict=True))
        return [each for place, (old, new) in pairs for each in lost(old, new, f"{where}[{place}]")]
    return [] if before == now else [f"{where}: {before!r} before, {now!r} now"]


def test_a_loss_is_found() -> None:
    assert lost({"a": [{"b": 1}]}, {"a": [{"b": 1, "new": 2}], "c": 3}) == []
    assert lost({"a": [{"b": 1}]}, {"a": [{"b": 2}]}) == [".a[0].b: 1 before, 2 now"]
    assert lost({"a": [1], "b": 1}, {"a": []}) == [".b", ".a: 1 before, 0 now"]


def test_the_archive_holds_what_an_upgrade_could_lose(facts: dict[str, Any]) -> None:
    records = facts["records"]
    assert facts["version"] == "0.1.0"
    wanted = (
        "runs",
        "versions",
        "plans",
        "windows",
        "ledger",
        "bundles",
        "deployments",
        "keys",
        "aliases",
        "artifacts",
    )
    assert [name for name in wanted if not records[name]] == []
    assert len(records["versions"]) == 2
    assert ARCHIVE.stat().st_size < 300_000


def test_every_record_is_what_it_was(metadata: MetadataService, home: Path, facts: dict[str, Any]) -> None:
    old_home = Path(facts["records"]["versions"][0]["path"]).parents[2]

    def at_home(records: Any) -> Any:
        """The home may be moved; only some records name their place below it."""
        return json.loads(json.dumps(records).replace(str(old_home), str(home)))

    before, now = at_home(facts["records"]), at_home(said_of(metadata))
    for old, new in zip(before["keys"], now["keys"], strict=True):  # a scope is a grant over all models since 0.2
        scopes = [grant["scope"] for grant in new["grants"] if grant["target"] == "*"]
        assert set(old.pop("scopes")) <= set(scopes)
    assert lost(before, now) == []


def test_the_ledger_holds_and_goes_on(metadata: MetadataService, facts: dict[str, Any]) -> None:
    count = len(facts["records"]["ledger"])
    assert metadata.ledger.verify_ledger() == count
    metadata.ledger.append_entry(MODEL, "note", "after the upgrade", key="upgrade")
    assert metadata.ledger.verify_ledger() == count + 1


def test_the_database_is_brought_to_the_newest_revision(metadata: MetadataService, home: Path) -> None:
    assert metadata.ledger.verify_ledger() > 0
    engine = create_engine(f"sqlite:///{home}/metadata.db")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == REVISION
    engine.dispose()


def test_every_feature_table_reads_and_the_training_set_is_rebuilt(home: Path, facts: dict[str, Any]) -> None:
    with closing(FeatureReader(home / "features")) as reader:
        assert {view: table_facts(reader.table(view)) for view in facts["tables"]} == facts["tables"]
        rebuilt = reader.rebuild(reader.manifest(facts["training_set"]))
        assert table_facts(rebuilt.table()) == facts["training_rows"]


def test_the_online_store_answers_as_before_and_takes_rows(home: Path, facts: dict[str, Any]) -> None:
    at = datetime.fromisoformat(facts["online_at"])
    asked = pa.Table.from_pylist(
        [{**row, "asked_at": datetime.fromisoformat(row["asked_at"])} for row in facts["online_asked"]]
    )
    with closing(FeatureStore(home / "features", clock=ManualClock(at))) as store:
        rows = pa.table({"row_id": ["new"], "user_id": ["someone new"], "a": [1.0], "b": [2.0], "event_time": [at]})
        store.push("visits_events", rows, ingest_id="after-the-upgrade")
        with closing(FeatureReader(home / "features", clock=ManualClock(at))) as reader:
            assert reader.online(MODEL, asked, at).select(list(facts["online"][0])).to_pylist() == facts["online"]
            assert reader.table("visits_events").num_rows == facts["tables"]["visits_events"]["rows"] + 1


def test_every_prediction_event_reads(home: Path, facts: dict[str, Any]) -> None:
    events = DeltaEventTables(home / "monitor").read(f"predictions/{MODEL}", None, None, "served_at")
    assert table_facts(events.select(["request_id", "score"])) == facts["events"]


def test_every_version_and_bundle_is_verified(metadata: MetadataService, home: Path, facts: dict[str, Any]) -> None:
    for version in facts["records"]["versions"]:
        assert load_version(metadata.models, MODEL, version["version"]).digest == version["digest"]
    for bundle in facts["records"]["bundles"]:
        verify_bundle(home / "bundles" / bundle["digest"])


ASK = """
import json, sys, urllib.request
import raymlops
from raymlops.config.reading.loader import load_config
home, port, request = sys.argv[1], int(sys.argv[2]), sys.argv[3]
busy = {"start_timeout": "5m", "boot_timeout": "5m"}
overrides = {"home": home, "serving": {"port": port}, "cluster": busy}
config = load_config(home + "/platform.yaml", environ={}, overrides=overrides)
with raymlops.connect(config=config) as platform:
    platform.models.verify("visits", 1)
    said = {"again": platform.models.predictions("visits", 1)[request], "entries": platform.ledger.verify()}
    said["champion"] = platform.endpoints.plan("visits").champion
    said["paused"] = [each.paused for each in platform.control.status()]
    run = platform.runs.start("visits", reason="after the upgrade")
    said["run"] = [run.status, run.error]
print(json.dumps(said))
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_platform_starts_in_the_old_home_and_trains(home: Path, facts: dict[str, Any]) -> None:
    from raymlops.replay.settings import free_port

    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK, str(home), str(free_port()), facts["request"]],
        env={**plain, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["again"] == pytest.approx(facts["answer"], abs=1e-9)
    assert said["champion"] == facts["records"]["plans"][-1]["champion"]
    assert said["entries"] >= len(facts["records"]["ledger"])
    assert said["run"] == ["succeeded", None]
