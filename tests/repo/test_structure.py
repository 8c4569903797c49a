"""The floor plan: how long a chain of imports may be, and how many entries a folder may have (ADR 0032)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.structure import entries, longest_chain, own_imports

CHAIN, ENTRIES = 12, 16


def test_no_chain_of_imports_is_long() -> None:
    found = longest_chain(own_imports()[0])
    assert len(found) <= CHAIN, found


def test_no_folder_is_crowded() -> None:
    """``raymlops/`` itself has one folder for each layer."""
    found = {str(folder): len(held) for folder, held in entries().items() if folder != Path("raymlops")}
    assert found
    assert {folder: count for folder, count in found.items() if count > ENTRIES} == {}
