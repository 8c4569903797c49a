"""Locks: what is read, what is refused, and what is installed in their place."""

from __future__ import annotations

import numpy
import pytest

from raymlops.delivery.lock import Pinned, package_faults, read_lock, versions_of
from raymlops.errors import ConfigError

A, B = "a" * 64, "b" * 64


def test_a_lock_is_read_as_pip_reads_it() -> None:
    content = (
        f"# raymlops==0.1.0\n# a note\nNum.Py==2.3.1 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
        f'other[extra]==1.0 ; sys_platform == "plan9" --hash=sha256:{A}  # via numpy\nbare==3\n'
    ).encode()
    lock = read_lock(content)
    assert lock == {
        "raymlops": Pinned("0.1.0", frozenset()),
        "num-py": Pinned("2.3.1", frozenset({A, B})),
        "other": Pinned("1.0", frozenset({A}), 'sys_platform == "plan9"'),
        "bare": Pinned("3", frozenset()),
    }
    assert versions_of(lock) == {"raymlops": "0.1.0", "num-py": "2.3.1", "bare": "3"}


@pytest.mark.parametrize(
    "line",
    [
        "numpy>=2",
        "numpy",
        "--index-url https://example.org/simple",
        f"numpy @ https://example.org/numpy.whl --hash=sha256:{A}",
        "numpy==2.3.1 --hash=md5:00",
        "-e .",
    ],
)
def test_what_is_no_exact_version_or_an_address_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match=r"own\.lock: each line must be name==version"):
        read_lock(f"{line}\n".encode(), "own.lock")


def test_a_line_without_a_hash_is_refused_where_each_must_have_one() -> None:
    assert read_lock(b"numpy==2.3.1\n")
    with pytest.raises(ConfigError, match=r"got 'numpy==2\.3\.1'"):
        read_lock(b"numpy==2.3.1\n", hashed=True)


def test_what_is_installed_in_another_version_or_not_at_all_is_named() -> None:
    assert package_faults({"numpy": numpy.__version__, "Pandas": "0"}) == ["Pandas 0, here none"]
    assert package_faults({"numpy": "1.0"}) == [f"numpy 1.0, here {numpy.__version__}"]
    many = package_faults({f"ghost-{number}": "1" for number in range(8)})
    assert many[-1] == "and 3 more"
    assert len(many) == 6
