from __future__ import annotations

from raymlops.delivery.admission.changes import bundle_changes
from raymlops.records.features import ApplyReport
from raymlops.testing.metadata_examples import example_bundle

REPORT = ApplyReport(added=("service toy@2",), unchanged=("view a@1",), changed=(), refused=(), faults=(), dry_run=True)


def test_each_kind_of_difference_is_a_line() -> None:
    one = example_bundle()
    before = one.model_copy(
        update={
            "project": one.project.model_copy(
                update={"training": {"trials": 8}, "policy": {"retrain": {"cooldown": "1d", "budget_runs": 3}}}
            ),
            "files": {"a.py": "1", "b.py": "1"},
        }
    )
    after = before.model_copy(
        update={
            "digest": "f" * 64,
            "project": one.project.model_copy(
                update={"training": {"trials": 2}, "policy": {"retrain": {"cooldown": "2d"}}}
            ),
            "files": {"b.py": "2", "c.py": "1"},
        }
    )
    told = bundle_changes(before, after, (b"numpy==1\nray==2\n", b"numpy==2\nxgboost==3\n"), REPORT)
    assert told.lines == [
        f"bundle {before.digest[:12]} -> bundle ffffffffffff",
        "definitions: + service toy@2",
        "policy: - retrain.budget_runs 3",
        "policy: ~ retrain.cooldown 1d -> 2d",
        "packages: ~ numpy 1 -> 2",
        "packages: - ray 2",
        "packages: + xgboost 3",
        "steps: ~ training.trials 8 -> 2",
        "files: - a.py",
        "files: ~ b.py",
        "files: + c.py",
    ]


def test_equal_bundles_differ_in_nothing() -> None:
    same = example_bundle()
    assert bundle_changes(same, same, (b"a==1\n", b"a==1\n"), None).lines == [
        f"bundle {same.digest[:12]} -> bundle {same.digest[:12]}"
    ]


def test_the_first_bundle_of_an_environment_comes_after_nothing() -> None:
    new = example_bundle()
    told = bundle_changes(None, new, (b"", b"a==1\n"), None)
    assert (told.lines[0], told.packages, told.steps) == (f"nothing -> bundle {new.digest[:12]}", (), ())
