from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymlops.errors import LedgerBroken
from raymlops.metadata import MetadataService
from raymlops.records.ledger import LedgerEntry


@pytest.fixture
def service(tmp_path: Path) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "metadata.db")) as service:
        for number in range(1, 6):
            service.ledger.append_entry("churn", "note", f"reason {number}", {"n": number}, key=f"key-{number}")
        assert service.ledger.verify_ledger() == 5
        yield service


def _tamper(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path / "metadata.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


_MOVE = "UPDATE ledger_entries SET sequence = {to} WHERE sequence = {of}"


@pytest.mark.parametrize(
    ("statements", "sequence", "what"),
    [
        (["UPDATE ledger_entries SET subject = 'other' WHERE sequence = 3"], 3, "altered"),
        (["UPDATE ledger_entries SET action = 'promote' WHERE sequence = 1"], 1, "altered"),
        (["UPDATE ledger_entries SET reason = '' WHERE sequence = 5"], 5, "altered"),
        (["""UPDATE ledger_entries SET evidence = '{"n":9}' WHERE sequence = 3"""], 3, "altered"),
        (["UPDATE ledger_entries SET evidence = '{' WHERE sequence = 3"], 3, "cannot be read"),
        (["UPDATE ledger_entries SET at_us = at_us + 1 WHERE sequence = 3"], 3, "altered"),
        (["UPDATE ledger_entries SET at_us = 'noon' WHERE sequence = 3"], 3, "cannot be read"),
        (["UPDATE ledger_entries SET key = 'x' WHERE sequence = 3"], 3, "altered"),
        (["UPDATE ledger_entries SET hash = previous_hash WHERE sequence = 3"], 3, "altered"),
        (["DELETE FROM ledger_entries WHERE sequence = 1"], 1, "missing"),
        (["DELETE FROM ledger_entries WHERE sequence = 3"], 3, "missing"),
        (["DELETE FROM ledger_entries WHERE sequence = 5"], 5, "missing"),
        (["DELETE FROM ledger_entries WHERE sequence > 2"], 3, "missing"),
        (["DELETE FROM ledger_entries"], 1, "missing"),
        ([_MOVE.format(of=2, to=9), _MOVE.format(of=3, to=2), _MOVE.format(of=9, to=3)], 2, "moved"),
        (
            ["DELETE FROM ledger_entries WHERE sequence = 3", _MOVE.format(of=4, to=3), _MOVE.format(of=5, to=4)],
            3,
            "moved",
        ),
        (["UPDATE ledger_head SET count = 4"], 5, "added behind"),
        (["UPDATE ledger_head SET hash = 'x'"], 5, "replaced"),
        (["DELETE FROM ledger_head"], 0, "head is missing"),
    ],
)
def test_tampering_is_found_where_it_is(
    service: MetadataService, tmp_path: Path, statements: list[str], sequence: int, what: str
) -> None:
    _tamper(tmp_path, *statements)
    with pytest.raises(LedgerBroken, match=what) as caught:
        service.ledger.verify_ledger()
    assert caught.value.context["sequence"] == sequence


def test_a_cut_tail_stays_found_when_the_ledger_goes_on(service: MetadataService, tmp_path: Path) -> None:
    _tamper(tmp_path, "DELETE FROM ledger_entries WHERE sequence = 5")
    assert service.ledger.append_entry("churn", "note", "later", key="later").sequence == 6
    with pytest.raises(LedgerBroken, match="entry 5 is missing"):
        service.ledger.verify_ledger()


def test_without_its_head_the_ledger_does_not_go_on(service: MetadataService, tmp_path: Path) -> None:
    _tamper(tmp_path, "DELETE FROM ledger_head")
    with pytest.raises(LedgerBroken, match="head is missing"):
        service.ledger.append_entry("churn", "note", "later", key="later")


def test_an_entry_that_cannot_be_read_is_named_when_listed(service: MetadataService, tmp_path: Path) -> None:
    _tamper(tmp_path, "UPDATE ledger_entries SET evidence = '[]' WHERE sequence = 2")
    with pytest.raises(LedgerBroken, match="entry 2"):
        service.ledger.entries()


def test_an_entry_signed_again_breaks_the_link_after_it(service: MetadataService, tmp_path: Path) -> None:
    forged = _sign(service.ledger.entries()[2].model_copy(update={"reason": "forged"}))
    _tamper(tmp_path, _rewrite(forged))
    with pytest.raises(LedgerBroken, match="entry 4 does not follow"):
        service.ledger.verify_ledger()


def test_a_rewrite_with_its_head_is_found_only_by_a_hash_kept_elsewhere(
    service: MetadataService, tmp_path: Path
) -> None:
    """The limit that ``Ledger.verify_ledger`` states: who may write everything may forge everything after a point."""
    kept = service.ledger.entries()[-1].hash
    forged = _sign(service.ledger.entries()[-1].model_copy(update={"reason": "forged"}))
    _tamper(tmp_path, _rewrite(forged), f"UPDATE ledger_head SET hash = '{forged.hash}'")
    assert service.ledger.verify_ledger() == 5
    assert service.ledger.entries()[-1].hash != kept


def _sign(entry: LedgerEntry) -> LedgerEntry:
    return entry.model_copy(update={"hash": entry.expected_hash()})


def _rewrite(entry: LedgerEntry) -> str:
    return (
        f"UPDATE ledger_entries SET reason = '{entry.reason}', hash = '{entry.hash}' WHERE sequence = {entry.sequence}"
    )


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
_text = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(subject=_text, reason=_text, evidence=st.dictionaries(_text, _json, max_size=3))
def test_whatever_is_appended_verifies_and_is_read_back(
    service: MetadataService, subject: str, reason: str, evidence: dict[str, object]
) -> None:
    before = service.ledger.verify_ledger()
    entry = service.ledger.append_entry(subject, "note", reason, evidence, key=f"hypothesis-{before}")
    assert service.ledger.verify_ledger() == before + 1
    assert service.ledger.entries(after=before) == [entry]


def test_the_newest_entries_up_to_an_instant_are_found_by_an_index(service: MetadataService, tmp_path: Path) -> None:
    assert [entry.sequence for entry in service.ledger.newest_entries(["churn"], 2)] == [4, 5]
    wanted = "FROM ledger_entries WHERE subject = 'churn' AND at_us <= 9 ORDER BY at_us DESC, sequence DESC LIMIT 10"
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as connection:
        (plan,) = connection.execute(f"EXPLAIN QUERY PLAN SELECT * {wanted}").fetchall()  # one step: nothing is sorted
    assert plan[3] == "SEARCH ledger_entries USING INDEX ledger_by_subject_and_time (subject=? AND at_us<?)"
