from __future__ import annotations

import pytest

from raymlops.errors import ConfigError
from raymlops.steps import TrainingContext
from raymlops.steps.project.context import spine_function


def test_a_spine_is_imported_by_its_path() -> None:
    assert spine_function("toy_spine:spine").__name__ == "spine"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("toy_spine", "must be 'module:function'"),
        (":spine", "must be 'module:function'"),
        ("no_such_module:spine", "cannot be imported: No module named"),
        ("toy_spine:other", "cannot be imported"),
        ("toy_spine:pa.array", "cannot be imported"),
        ("toy_spine:__name__", "must be a function, got str"),
    ],
)
def test_a_path_that_leads_nowhere_is_an_error(path: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        spine_function(path)


def test_scratch_paths_are_never_the_same(bare: TrainingContext) -> None:
    first, second = bare.scratch("model"), bare.scratch("model")
    assert first != second
    assert first.parent.is_dir()
    assert not first.exists()


def test_scratch_paths_can_be_cleared(bare: TrainingContext) -> None:
    path = bare.scratch("model")
    path.write_bytes(b"")
    bare.clear_scratch()
    assert not path.exists()
    assert bare.work.is_dir()
