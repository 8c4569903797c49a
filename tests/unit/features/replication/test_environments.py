"""Each environment has definitions, tables and online features of its own; nothing in one touches another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from raymlops.clock import ManualClock
from raymlops.config.features import FeaturesConfig
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, FeatureViewNotFound, NotFoundError, SchemaMismatch, StorageError
from raymlops.features import Entity, FeatureReader, FeatureService, FeatureView, Field
from raymlops.features.catalog.layout import online_path
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.features.offline.table_batches import read_batches
from raymlops.features.online.lmdb import file_identity
from raymlops.features.replication.environments import PerEnvironment, environments_in
from raymlops.features.replication.leader import LeadingStore, copy_rows, open_store, require_definitions
from raymlops.features.replication.removal import remove_features, tables_in

T = datetime(2024, 3, 1, 12, tzinfo=UTC)
CLOCK = ManualClock(T + timedelta(hours=1))
SHOP = Entity("shop", ["shop"])
SALES = FeatureView("sales", SHOP, [Field("amount", "float64")])
SERVICE = FeatureService("s", ["sales:amount"])
OWN, DEV = None, "dev"


def rows(**amounts: float) -> pa.Table:
    times = pa.array([T] * len(amounts), pa.timestamp("us", tz="UTC"))
    return pa.table({"shop": list(amounts), "event_time": times, "amount": list(amounts.values())})


@pytest.fixture
def config(tmp_path: Path) -> PlatformConfig:
    return PlatformConfig(home=tmp_path / "home", environment="prod", features=FeaturesConfig(online_bytes=64 << 20))


@pytest.fixture
def stores(config: PlatformConfig) -> Iterator[PerEnvironment[LeadingStore]]:
    with closing(PerEnvironment(lambda of: open_store(config.feature_place(of), CLOCK))) as opened:
        yield opened


def reader_of(config: PlatformConfig, environment: str | None) -> FeatureReader:
    place = config.feature_place(environment)
    return FeatureReader(place.root, clock=CLOCK, local=place.local)


def amounts(config: PlatformConfig, environment: str | None) -> tuple[list[float | None], list[float | None]]:
    """Of the shops ``a`` and ``b`` in an environment: online, and in a training set."""
    spine = pa.table({"shop": ["a", "b"], "event_time": pa.array([T, T], pa.timestamp("us", tz="UTC"))})
    with closing(reader_of(config, environment)) as reader:
        online = reader.online("s", spine.select(["shop"]))
        trained = reader.training_set("s", spine, name="t").table()
        return online["sales__amount"].to_pylist(), trained["sales__amount"].to_pylist()


def files_of(directory: Path) -> dict[str, bytes]:
    # readers of LMDB note themselves in its lock file
    found = [path for path in directory.rglob("*") if path.is_file() and path.name != "lock.mdb"]
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def test_the_own_environment_has_the_paths_of_before(config: PlatformConfig) -> None:
    own = config.feature_place()
    assert (own.environment, own.root, own.local) == (None, config.home / "features", config.home / "features")
    assert own.settings == config.features
    assert config.feature_place("prod") == own, "by its name, too"


def test_no_place_of_an_environment_is_anothers(tmp_path: Path) -> None:
    for root in (None, "s3://bucket/p/", str(tmp_path / "elsewhere")):
        features = FeaturesConfig(root=root, online_store="redis://host/0", online_prefix="here")
        config = PlatformConfig(home=tmp_path, environment="prod", features=features)
        places = [config.feature_place(name) for name in (None, "dev", "dev2", "staging")]
        for part in (
            {str(place.root) for place in places},
            {str(place.local) for place in places},
            {place.settings.online_prefix for place in places},
        ):
            assert len(part) == len(places)
    dev = config.feature_place("dev")
    assert (dev.root, dev.local) == (f"{tmp_path}/elsewhere/environments/dev", tmp_path / "features/environments/dev")
    with pytest.raises(ValueError, match="online_prefix"):
        FeaturesConfig(online_prefix=dev.settings.online_prefix)  # no other platform can be configured to have it


@pytest.mark.parametrize("name", ["../prod", "Dev", "", "a/b", "rehearsal"])
def test_an_environment_must_have_a_proper_name(config: PlatformConfig, name: str) -> None:
    with pytest.raises(ConfigError, match="environment name must"):
        config.feature_place(name)


def test_what_is_done_in_one_environment_is_not_seen_in_another(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore]
) -> None:
    stores.of(OWN).apply(SHOP, SALES, SERVICE)
    stores.of(OWN).push("sales", rows(a=1.0), ingest_id="one")
    before = files_of(config.home)
    other = FeatureView("sales", SHOP, [Field("amount", "float64"), Field("tax", "float64")])
    stores.of(DEV).apply(SHOP, other, SERVICE)  # the same version of the same name, defined in another way
    table = rows(b=7.0)
    stores.of(DEV).push("sales", table.append_column("tax", pa.array([0.1])), ingest_id="one")  # the same id, too
    stores.of(DEV).materialize()
    assert amounts(config, DEV) == ([None, 7.0], [None, 7.0])
    assert amounts(config, OWN) == ([1.0, None], [1.0, None])
    after = files_of(config.home)
    added = {
        path.partition("/environments/")[0] for path in after.keys() - before.keys() if "training_sets" not in path
    }
    assert added == {"features"}, "all of it is below its own directory"
    assert {path: after[path] for path in before} == before
    assert environments_in(config.feature_place()) == ["dev"]


def test_a_training_set_of_an_environment_is_built_again_from_its_tables(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore]
) -> None:
    for environment, amount in ((OWN, 1.0), (DEV, 7.0)):
        stores.of(environment).apply(SHOP, SALES, SERVICE)
        stores.of(environment).push("sales", rows(a=amount), ingest_id="one")
    spine = pa.table({"shop": ["a"], "event_time": pa.array([T], pa.timestamp("us", tz="UTC"))})
    with closing(reader_of(config, DEV)) as reader:
        manifest = reader.training_set("s", spine, name="t").manifest
        assert reader.rebuild(manifest).table()["sales__amount"].to_pylist() == [7.0]
    assert FeatureFiles.at(config.feature_place(DEV)).training_sets.manifest(manifest.digest) == manifest
    with closing(reader_of(config, OWN)) as reader, pytest.raises(NotFoundError):
        reader.manifest(manifest.digest)


def test_an_environment_of_which_nobody_knows_has_nothing(config: PlatformConfig) -> None:
    with closing(reader_of(config, "nowhere")) as reader, pytest.raises(FeatureViewNotFound, match="not applied"):
        reader.plan("s")
    assert environments_in(config.feature_place()) == []


def test_rows_are_copied_into_tables_that_have_none(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore]
) -> None:
    visits = FeatureView("visits", SHOP, [Field("amount", "float64")])
    new = FeatureView("new", SHOP, [Field("amount", "float64")])
    stores.of(OWN).apply(SHOP, SALES, visits)
    for view in ("sales", "visits"):
        stores.of(OWN).push(view, rows(a=1.0), ingest_id=view)
    stores.of(DEV).apply(SHOP, SALES, visits, new, SERVICE)
    stores.of(DEV).push("visits", rows(b=2.0), ingest_id="its own")
    source = FeatureFiles.at(config.feature_place(OWN))
    copied = copy_rows(source, stores.of(DEV), "prod")
    assert [(receipt.table, receipt.rows) for receipt in copied] == [("sales", 1)]
    assert copy_rows(source, stores.of(DEV), "prod") == [], "a repeat does nothing"
    stores.of(DEV).materialize("sales")
    stores.of(OWN).push("sales", rows(b=5.0), ingest_id="later")
    assert amounts(config, DEV) == ([1.0, None], [1.0, None]), "what comes later is not copied"


def test_a_copied_table_is_handed_over_in_batches(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.of(OWN).apply(SHOP, SALES)
    for number in range(3):
        stores.of(OWN).push("sales", rows(a=float(number)), ingest_id=str(number))
    target, blocks = stores.of(DEV), list[int]()
    target.apply(SHOP, SALES)

    def stage(staged: str, number: int, table: pa.Table) -> None:
        blocks.append(table.num_rows)
        LeadingStore.stage(target, staged, number, table)

    monkeypatch.setattr(target, "stage", stage)
    monkeypatch.setattr("raymlops.features.replication.leader.read_batches", partial(read_batches, cells=1))
    (receipt,) = copy_rows(FeatureFiles.at(config.feature_place(OWN)), target, "prod")
    assert (blocks, receipt.rows) == ([1, 1, 1], 3)
    with closing(reader_of(config, DEV)) as copied:
        assert copied.table("sales")["amount"].to_pylist() == [0.0, 1.0, 2.0], "in the order of their arrival"
    assert not list((config.feature_place(DEV).local / "staging").iterdir()), "nothing is left on the way"


def test_rows_of_another_view_of_the_same_name_are_refused(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore]
) -> None:
    stores.of(OWN).apply(SHOP, SALES)
    stores.of(OWN).push("sales", rows(a=1.0), ingest_id="one")
    stores.of(DEV).apply(SHOP, FeatureView("sales", SHOP, [Field("tax", "float64")]))
    with pytest.raises(SchemaMismatch, match="tax"):
        copy_rows(FeatureFiles.at(config.feature_place(OWN)), stores.of(DEV), "prod")
    assert not stores.of(DEV).has_table("sales")


def test_features_of_an_environment_go_and_those_of_others_stay(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore]
) -> None:
    for environment in (OWN, DEV, "dev-2"):
        stores.of(environment).apply(SHOP, SALES, SERVICE)
        stores.of(environment).push("sales", rows(a=1.0), ingest_id="one")
    kept = {place: files_of(config.feature_place(place).root) for place in ("dev-2",)}
    own = config.feature_place().root
    tables = files_of(own / "tables")
    place = config.feature_place(DEV)
    assert tables_in(place) == ("sales",)
    stores.drop(DEV, lambda: remove_features(place))
    assert not place.local.exists()
    assert not Path(place.root).exists()
    assert (tables_in(place), environments_in(config.feature_place())) == (None, ["dev-2"])
    assert {place: files_of(config.feature_place(place).root) for place in ("dev-2",)} == kept
    assert files_of(own / "tables") == tables
    remove_features(place)  # may be called again
    with pytest.raises(ConfigError, match="own environment cannot be removed"):
        remove_features(config.feature_place())


def test_what_is_half_removed_is_refused_and_the_rest_goes_at_the_next_call(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.of(DEV).apply(SHOP, SALES, SERVICE)
    stores.of(DEV).push("sales", rows(a=1.0), ingest_id="one")
    place = config.feature_place(DEV)

    def fail(path: Path) -> None:
        raise OSError("the disk is away")

    with monkeypatch.context() as broken:
        broken.setattr("shutil.rmtree", fail)
        with pytest.raises(StorageError, match="features of environment 'dev' cannot be removed: the disk is away"):
            stores.drop(DEV, lambda: remove_features(place))
    with pytest.raises(NotFoundError, match="has no feature views"):
        require_definitions(place)
    assert tables_in(place) == (), "it is not gone yet"
    stores.drop(DEV, lambda: remove_features(place))
    assert tables_in(place) is None


def test_the_file_of_an_environment_that_was_made_anew_is_another_one(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore]
) -> None:
    place, asked = config.feature_place(DEV), pa.table({"shop": ["a"]})
    file = online_path(place.local)
    stores.of(DEV).apply(SHOP, SALES, SERVICE)
    stores.of(DEV).push("sales", rows(a=1.0), ingest_id="one")
    with closing(reader_of(config, DEV)) as reader:
        assert reader.online("s", asked)["sales__amount"].to_pylist() == [1.0]
        before = file_identity(file)
        assert before is not None
        stores.drop(DEV, lambda: remove_features(place))
        assert file_identity(file) is None
        stores.of(DEV).apply(SHOP, SALES, SERVICE)
        stores.of(DEV).push("sales", rows(a=2.0), ingest_id="one")
        assert file_identity(file) not in {before, None}
        with closing(reader_of(config, DEV)) as another:
            assert another.online("s", asked)["sales__amount"].to_pylist() == [2.0], "though the old one is open still"


class Opened:
    def __init__(self, name: str | None) -> None:
        self.name, self.open = name, True

    def close(self) -> None:
        self.open = False


def test_each_is_opened_once_and_all_are_closed() -> None:
    troubles = [StorageError("its disk is away")]

    def open_one(name: str | None) -> Opened:
        if name == "dev" and troubles:
            raise troubles.pop()
        return Opened(name)

    each = PerEnvironment(open_one)
    with pytest.raises(StorageError, match="away"):
        each.of("dev")
    dev, own = each.of("dev"), each.of()
    assert (dev.name, own.name) == ("dev", None)
    assert (each.of("dev"), each.of(None)) == (dev, own)
    each.close()
    assert (dev.open, own.open) == (False, False)


def test_a_name_under_which_nothing_was_applied_is_refused_and_makes_nothing(
    config: PlatformConfig, stores: PerEnvironment[LeadingStore]
) -> None:
    stores.of(DEV).apply(SALES, SERVICE)
    require_definitions(config.feature_place(DEV))
    with pytest.raises(NotFoundError, match="environment 'devv' has no feature views: apply some there first"):
        require_definitions(config.feature_place("devv"))
    assert environments_in(config.feature_place()) == [DEV]
    assert (stores.opened(DEV), stores.opened("devv")) == (True, False)
