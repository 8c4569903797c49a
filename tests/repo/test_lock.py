"""The lock names exact versions with hashes, and no place to get them from: that is the index the user configured."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]+\])?==(?P<version>[^\s;\\]+)(\s*;[^\\]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements(text: str) -> list[str]:
    """Logical lines, comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [" ".join(line.split()) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def faults(text: str) -> list[str]:
    """Requirements that are not pinned by version and hash, or say where to get them."""
    found = [line for line in text.splitlines() if "://" in line or "--index" in line or "--find-links" in line]
    for requirement in requirements(text):
        head, *hashes = requirement.split(" --hash=")
        if (
            not PIN.fullmatch(head.strip())
            or not hashes
            or not all(HASH.fullmatch(f"--hash={h.strip()}") for h in hashes)
        ):
            found.append(requirement[:80])
    return found


def names(text: str) -> set[str]:
    return {re.sub(r"[-_.]+", "-", PIN.match(line)["name"]).lower() for line in requirements(text) if PIN.match(line)}


def test_every_requirement_is_pinned_and_hashed_and_has_no_address() -> None:
    assert faults(LOCK) == []
    assert len(requirements(LOCK)) > 50


def test_nothing_is_locked_that_slows_each_import_of_ray() -> None:
    """``jsonschema``, which Ray imports in each process, imports this one where it is there (ADR 0060)."""
    assert "jsonschema" in names(LOCK)
    assert "rfc3987-syntax" not in names(LOCK)


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    plain = {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", each)[0]).lower() for each in wanted}
    assert plain <= names(LOCK)


@pytest.mark.parametrize(
    "line",
    [
        "ray>=2.60",
        "ray==2.60.0",
        "ray==2.60.0 --hash=md5:00",
        "ray @ https://example.org/ray.whl",
        "--index-url https://example.org/simple",
        "-e .",
        "ray==2.60.0 --hash=sha256:" + "0" * 63,
    ],
)
def test_the_check_itself(line: str) -> None:
    assert faults(line)


def test_the_check_accepts_what_is_right() -> None:
    hashes = " \\\n".join(f"    --hash=sha256:{digit * 64}" for digit in "01")
    assert faults(f"# comment\nray[serve]==2.60.0 \\\n{hashes}\n    # via x\n") == []
