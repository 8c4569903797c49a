"""The guides' code runs as it stands there, as far as it needs no platform."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.support.guides import GUIDES, environment_in, run_guide

ROOT = Path(__file__).parents[2]
BLOCKS = {
    "quick-start.md": 3,
    "own-model.md": 6,
    "coming-from.md": 2,
    "backup-and-restore.md": 3,
}
"""Guide -> how many blocks of it need no platform: fewer would be a guide that is tested no more."""


def test_every_guide_with_code_is_run_here_or_with_a_platform() -> None:
    with_code = {guide.name for guide in GUIDES if "```python" in guide.read_text() or "```bash" in guide.read_text()}
    needing_all = {"own-table.md", "ray-jobs.md"}
    assert with_code == set(BLOCKS) | needing_all


_SLOW = {"quick-start.md", "own-model.md"}
"""What they do has quick tests: of the wheel, of the laboratory, of each flavor."""


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow if each in _SLOW else ()) for each in BLOCKS]
)
def test_a_guide_runs(name: str, tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests" / "data" / "home-0.1.tar.xz") as packed:  # a platform that was used
        packed.extractall(tmp_path, filter="data")
    (tmp_path / "home").rename(tmp_path / ".raymlops")
    ran = run_guide(ROOT / "docs" / "guides" / name, tmp_path, environment_in(tmp_path), cluster=False)
    assert ran == BLOCKS[name]
