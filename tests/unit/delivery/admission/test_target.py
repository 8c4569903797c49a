from __future__ import annotations

import pytest

from raymlops.delivery.admission.target import Needs, Node, Target, check_target, locked_packages
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


OTHER = Node("10.0.0.2 (4f1c)", "3.12", LOCK, cpus=1.0, memory_bytes=512 << 20)


def test_a_need_that_one_of_the_nodes_meets_is_met() -> None:
    check_target(example_bundle(), NEEDS._replace(process_cpus=1.0), TARGET._replace(nodes=(OTHER,)))
    roomy = OTHER._replace(memory_bytes=8 << 30, cpus=2.0)
    check_target(example_bundle(), NEEDS._replace(memory_bytes=4 << 30), TARGET._replace(cpus=4.0, nodes=(roomy,)))


@pytest.mark.parametrize(
    ("needs", "changes", "told"),
    [
        ({}, {"python": "3.11"}, r"needs Python 3.12, node 10.0.0.2 \(4f1c\) has 3.11"),
        (
            {},
            {"packages": b"ray==2.60.0\n"},
            r"installed on node 10.0.0.2 \(4f1c\): numpy 2.3.1 \(there: none\); install",
        ),
        ({"memory_bytes": 4 << 30}, {}, "needs 4096 MiB of free memory on one node, the most are 2048"),
        ({"process_cpus": 1.5}, {}, "needs 1.5 logical CPUs on one node, the most are 1"),
    ],
)
def test_what_another_node_lacks_is_told_in_one_line(
    needs: dict[str, object], changes: dict[str, object], told: str
) -> None:
    with pytest.raises(DeploymentError, match=told) as raised:
        check_target(example_bundle(), NEEDS._replace(**needs), TARGET._replace(nodes=(OTHER._replace(**changes),)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"python": "3.11"}, "needs Python 3.12, here is 3.11"),
        ({"ray": "2.61.0"}, "needs Ray 2.60.0, the cluster has 2.61.0"),
        ({"packages": b"ray==2.60.0\n"}, "other packages than are installed here: numpy 2.3.1 .there: none."),
        ({"packages": b"numpy==2.2\nray==2.60.0\n"}, "numpy 2.3.1 .there: 2.2.; build it again"),
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
