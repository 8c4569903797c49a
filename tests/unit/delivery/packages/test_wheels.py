"""Wheels that travel: carried, checked, installed without an index."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from raymlops.delivery.packages.wheels import carry_wheels, install_wheels, verify_installed, verify_wheels
from raymlops.errors import ConfigError, DeploymentError
from tests.unit.delivery.packages.tiny_wheels import make_wheel, sha256_of_file


@pytest.fixture
def carried(tmp_path: Path) -> tuple[Path, Path]:
    """A directory with one wheel, and its lock."""
    wheel = make_wheel(tmp_path / "wheels")
    lock = tmp_path / "requirements.lock"
    gone = f'winding==1.0 ; sys_platform == "plan9" --hash=sha256:{"b" * 64}\n'
    lock.write_text(f"# raymlops==0.1.0\ntinything==1.0 --hash=sha256:{sha256_of_file(wheel)}\n{gone}")
    return tmp_path / "wheels", lock


def test_a_missing_an_altered_and_a_strange_wheel_are_refused(carried: tuple[Path, Path]) -> None:
    wheels, lock = carried
    verify_wheels(wheels, lock)
    (wheel,) = wheels.iterdir()
    content = wheel.read_bytes()
    wheel.write_bytes(content + b"\0")
    with pytest.raises(DeploymentError, match=r"tinything-1\.0-py3-none-any\.whl: must have a hash of the lock, got"):
        verify_wheels(wheels, lock)
    wheel.unlink()
    with pytest.raises(DeploymentError, match="wheels: lacks the wheel of tinything"):
        verify_wheels(wheels, lock)
    wheel.write_bytes(content)
    for strange in ("other-1.0-py3-none-any.whl", "tinything-1.1-py3-none-any.whl", "notes.txt"):
        (wheels / strange).write_bytes(content)
        with pytest.raises(DeploymentError, match=rf"{strange}: must be a wheel of the lock, and is none"):
            verify_wheels(wheels, lock)
        (wheels / strange).unlink()
    shutil.rmtree(wheels)
    with pytest.raises(DeploymentError, match="the bundle carries no wheels"):
        verify_wheels(wheels, lock)


def test_wheels_are_downloaded_by_the_hashes_of_the_lock(
    carried: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, lock = carried
    lock.write_text("\n".join(lock.read_text().splitlines()[:2]) + "\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    target = tmp_path / "bundle-wheels"
    assert carry_wheels(lock, target) == target
    assert [path.name for path in target.iterdir()] == ["tinything-1.0-py3-none-any.whl"]
    (tmp_path / "raymlops.wheels-killed_1" / "wheels").mkdir(parents=True)
    (tmp_path / "raymlops.wheels-killed_1").chmod(0o700)
    shutil.rmtree(index)
    assert carry_wheels(lock, target) == target, "what is there is checked, not downloaded again"
    with pytest.raises(DeploymentError, match="the wheels could not be downloaded: No matching distribution"):
        carry_wheels(lock, tmp_path / "others")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle-wheels", "requirements.lock"]
    lock.write_text("tinything==1.0\n")
    with pytest.raises(ConfigError, match="wheels need a lock with hashes: it has none of tinything"):
        carry_wheels(lock, target)


def test_they_install_without_an_index(carried: tuple[Path, Path], tmp_path: Path) -> None:
    from uv import find_uv_bin

    wheels, lock = carried
    place = tmp_path / "environment"
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--offline", str(place)], check=True)
    python = place / "bin" / "python"
    install_wheels(wheels, lock, python)
    code = "import tinything; print(tinything.VALUE)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"
    with pytest.raises(DeploymentError, match="cannot be installed"):
        install_wheels(wheels, lock, tmp_path / "no-python")


def test_an_installation_that_takes_too_long_is_told(
    carried: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raymlops.delivery.packages.wheels._TIMEOUT_S", 0.0001)
    with pytest.raises(DeploymentError, match=r"were not installed within 0\.0001 s"):
        install_wheels(*carried, Path(sys.executable))


def test_what_is_installed_is_held_against_the_wheel_file_by_file(tmp_path: Path) -> None:
    found = distribution("iniconfig")
    record = found.read_text("RECORD") or ""
    path = tmp_path / f"iniconfig-{found.version}-py3-none-any.whl"
    own = [line for line in record.splitlines() if not line.startswith("..") and "INSTALLER" not in line]

    def write(lines: list[str]) -> None:
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("iniconfig/vendored/other-1.dist-info/RECORD", "other.py,sha256=abc,3\n")
            wheel.writestr(f"iniconfig-{found.version}.dist-info/RECORD", "\n".join(lines) + "\n")

    write(own)
    verify_installed(tmp_path)
    write([*own, "iniconfig/extra.py,sha256=abc,3"])
    with pytest.raises(DeploymentError, match=r"iniconfig: iniconfig/extra\.py is installed in another form than"):
        verify_installed(tmp_path)
