"""The lines that the pages tell to type for Ray Jobs, typed as they stand."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from sklearn.linear_model import LogisticRegression

from raymlops.errors import ConfigError
from raymlops.runtime.supervision.home_note import noted_cluster

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
MODEL = "documented"


@pytest.fixture(scope="module")
def exported(platform: Platform) -> dict[str, str]:
    """The environment of a shell after ``eval "$(raymlops env)"``."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
    note = noted_cluster(platform.config.home)
    if note is not None and note.foreign:  # who uses a cluster of somebody else has its token from them
        plain |= {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
    plain |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "raymlops.cli.main", "env"],
        env={**plain, "RAYMLOPS_HOME": str(platform.config.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line.removeprefix("export ") for line in done.stdout.splitlines()]
    return plain | dict(shlex.split(line)[0].split("=", 1) for line in lines)


def _documented(page: str, script: str) -> str:
    """The line of a page that submits a script."""
    text = (ROOT / page).read_text()
    found = re.search(rf"^(?:.*`)?(ray job submit [^`\n]*{script}[^`\n]*)", text, re.MULTILINE)
    assert found is not None, f"{page} tells no way to submit {script}"
    return found[1]


def _type(line: str, environment: dict[str, str], *, cwd: Path = ROOT) -> tuple[int, str]:
    done = subprocess.run(
        shlex.split(line), cwd=cwd, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def scoring(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The line of the page that scores a table, with an output of one's own."""
    place = tmp_path_factory.mktemp("documented")
    example = pa.table({"a": [float(n) for n in range(20)], "b": [1.0] * 20})
    model = LogisticRegression().fit(example.to_pandas().to_numpy(), [n > 9 for n in range(20)])
    version = platform.models.register(MODEL, model, example=example).version
    pq.write_table(example, place / "rows.parquet")
    line = _documented("docs/batch-scoring.md", "jobs/batch_score.py")

    def typed(output: str) -> str:
        words = {"MODEL": MODEL, "SOURCE": str(place / "rows.parquet"), "OUTPUT": output, "N": str(version)}
        return re.sub(r"\b(MODEL|SOURCE|OUTPUT|N)\b", lambda found: words[found[1]], line)

    return typed


@pytest.mark.slow
def test_a_table_is_scored_by_the_line_of_the_page(
    exported: dict[str, str], scoring: Callable[[str], str], tmp_path: Path
) -> None:
    code, said = _type(scoring(str(tmp_path / "scored")), exported)
    assert code == 0, said
    assert DeltaTable(str(tmp_path / "scored")).to_pyarrow_table().num_rows == 20


@pytest.mark.slow
def test_the_line_of_the_page_with_a_relative_output_is_refused(
    exported: dict[str, str], scoring: Callable[[str], str]
) -> None:
    code, said = _type(scoring("scored"), exported)
    assert code != 0
    assert "error: the output must be an absolute path or a URI in a Ray job, got 'scored'" in said


def test_who_was_told_of_no_home_finds_the_platform_by_the_clusters_address(
    platform: Platform, exported: dict[str, str], tmp_path: Path
) -> None:
    """As a job on a cluster of somebody else, whose processes know nothing of the platform."""
    told_nothing = {name: value for name, value in exported.items() if name != "RAYMLOPS_HOME"} | {
        "HOME": str(tmp_path)
    }
    code = "import raymlops\nplatform = raymlops.connect(start=False)\nprint(platform.config.home)\nplatform.detach()"
    found, said = _type(shlex.join([sys.executable, "-c", code]), told_nothing)
    assert (found, said.strip()) == (0, str(platform.config.home))
    found, said = _type(shlex.join([sys.executable, "-c", code]), told_nothing | {"RAYMLOPS_HOME": str(tmp_path)})
    assert found != 0
    assert f"no platform of {tmp_path} runs on" in said


def test_addresses_of_one_machine_are_one_cluster() -> None:
    from raymlops.runtime.session import _is_one

    own = socket.gethostbyname(socket.gethostname())
    assert _is_one("127.0.0.1:6379", f"{own}:6379")
    assert not _is_one("127.0.0.1:6379", f"{own}:6380")
    assert not _is_one("127.0.0.1:6379", "203.0.113.7:6379")


def test_a_relative_output_is_refused_in_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without a working directory runs where `up` was typed, and not where it was submitted."""
    from raymlops.runtime.jobs.batch import _output

    assert _output("scored") == Path("scored")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert (_output("/data/scored"), _output("s3://bucket/scored")) == (Path("/data/scored"), "s3://bucket/scored")
    with pytest.raises(ConfigError, match="an absolute path or a URI in a Ray job, got 'scored'"):
        _output("scored")


@pytest.mark.slow
def test_jobs_of_the_package_are_submitted_from_another_machine(
    platform: Platform, exported: dict[str, str], tmp_path: Path
) -> None:
    """The lines of the guide with nothing but the address and a copy of the token, from an empty directory."""
    example = pa.table({"a": [float(n) for n in range(20)], "b": [1.0] * 20})
    model = LogisticRegression().fit(example.to_pandas().to_numpy(), [n > 9 for n in range(20)])
    platform.models.register("shipments", model, example=example)
    pq.write_table(example, tmp_path / "rows.parquet")
    token = tmp_path / "token"
    token.write_bytes(Path(exported["RAY_AUTH_TOKEN_PATH"]).read_bytes())
    token.chmod(0o600)
    here = ("RAYMLOPS_HOME", "RAY_ADDRESS", "RAY_DASHBOARD_ADDRESS", "PYTHONPATH")
    outside = {name: value for name, value in exported.items() if name not in here}
    outside |= {"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(token)}
    for script in ("raymlops.jobs.materialize", "raymlops.jobs.batch_score"):
        line = _documented("docs/guides/ray-jobs.md", script).replace("/data/", f"{tmp_path}/")
        code, said = _type(line.replace("--mode", "--version 1 --mode"), outside, cwd=tmp_path)
        assert code == 0, said
    assert DeltaTable(str(tmp_path / "scored")).to_pyarrow_table().num_rows == 20


@pytest.mark.slow
def test_an_unknown_pipeline_is_one_line(exported: dict[str, str]) -> None:
    line = _documented("jobs/train.py", "jobs/train.py").replace("NAME", "nosuch")
    code, said = _type(line, exported)
    assert code != 0
    assert "error: no bundle of pipeline 'nosuch' is deployed in environment" in said
    assert "raymlops.errors" not in said
