from __future__ import annotations

import pytest

from raymlops.delivery.target import Needs, Target, check_target, locked_packages
from raymlops.errors import DeploymentError
from raymlops.testing.metadata_examples import example_bundle

LOCK = b"numpy==2.3.1\nray==2.60.0\n"
NEEDS = Needs("3.12", LOCK, cpus=1.25, memory_bytes=1 << 30)
TARGET = Target("3.12", "2.60.0", LOCK, cpus=2.0, memory_bytes=2 << 30, stores={"metadata": "", "feature": ""})


def test_a_platform_that_has_all_is_taken() -> None:
    check_target(example_bundle(), NEEDS, TARGET)
    check_target(example_bundle(), NEEDS._replace(python=""), TARGET._replace(python="3.11"))
    more = TARGET._replace(packages=LOCK + b"zstandard==1.0\n")
    check_target(example_bundle(), NEEDS, more)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"python": "3.11"}, "needs Python 3.12, here is 3.11"),
        ({"ray": "2.61.0"}, "needs Ray 2.60.0, the cluster has 2.61.0"),
        ({"packages": b"ray==2.60.0\n"}, "other packages than are installed here: numpy 2.3.1 .here: none."),
        ({"packages": b"numpy==2.2\nray==2.60.0\n"}, "numpy 2.3.1 .here: 2.2.; build it again"),
        ({"cpus": 1.0}, "needs 1.25 logical CPUs, the cluster has 1"),
        ({"memory_bytes": 512 << 20}, "needs 1024 MiB of free memory, here are 512"),
        ({"stores": {"metadata": "", "online": "redis is away"}}, "the online store cannot be reached: redis is away"),
    ],
)
def test_what_is_missing_is_told_in_one_line(changes: dict[str, object], told: str) -> None:
    with pytest.raises(DeploymentError, match=told) as raised:
        check_target(example_bundle(), NEEDS, TARGET._replace(**changes))
    assert "\n" not in str(raised.value)


def test_a_lock_with_hashes_and_markers_is_read() -> None:
    lines = ("Num.Py==2.3.1 \\", f"    --hash=sha256:{'0' * 64}", "ray[default]==2.60 ; python_version >= '3.11'")
    lock = "\n".join(("# raymlops==0.2", *lines, "colorama==0.4 ; sys_platform == 'win32'")).encode()
    assert locked_packages(lock) == {"raymlops": "0.2", "num-py": "2.3.1", "ray": "2.60"}
    there = TARGET._replace(packages=b"raymlops==0.2\nnum-py==2.3.1\nray==2.60.0\n")
    check_target(example_bundle(), NEEDS._replace(packages=lock), there)
