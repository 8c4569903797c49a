"""A small project in a git repository, and a platform that delivers it, as a user would have them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.training_project import PROJECT, SOURCE

__all__ = ["TEST", "Commands", "commit", "push", "write_project"]

TEST = "from killed_project import spine\n\n\ndef test_it():\n    assert spine\n"
_TRAINING = {
    "holdout_days": 12,
    "trials": 1,
    "bootstrap_rounds": 100,
    "tolerance": 0.0,
    "search": {"xgboost": {"n_estimators": 150, "learning_rate": 0.04, "max_depth": 2}},
}
_WHO = b"Ada <ada@example.org>"


def write_project(place: Path, training: Mapping[str, Any] | None = None, test: str = TEST) -> None:
    """The project's files; ``training`` changes what its runs do."""
    place.mkdir(parents=True, exist_ok=True)
    described = PROJECT.model_copy(update={"training": {**_TRAINING, **(training or {})}})
    (place / "killed_project.py").write_text(SOURCE)
    (place / "test_it.py").write_text(test)
    (place / "project.yaml").write_text(json.dumps(described.model_dump(mode="json")))


def commit(place: Path, message: str, branch: str = "main") -> str:
    """Commit all files of a directory on a branch of its repository, made where there is none; returns the commit."""
    from dulwich import porcelain
    from dulwich.repo import Repo

    if not (place / ".git").exists():
        Repo.init(str(place), default_branch=branch.encode()).close()
    files = (path for path in place.rglob("*") if path.is_file() and ".git" not in path.relative_to(place).parts)
    porcelain.add(place, [str(path) for path in files])  # but for those that .gitignore names
    return porcelain.commit(place, message=message.encode(), author=_WHO, committer=_WHO).decode()


def push(place: Path, origin: Path, branch: str = "main") -> None:
    """Push what is committed on the branch of a checkout to a branch of another repository."""
    from dulwich import porcelain

    porcelain.push(place, str(origin), f"+refs/heads/main:refs/heads/{branch}".encode(), errstream=io.BytesIO())


class Commands:
    """Runs ``raymlops ARGUMENTS`` in processes of their own, on one configuration."""

    def __init__(self, config: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMLOPS_"))}
        self._environment = {**kept, "RAYMLOPS_CONFIG": str(config), "COLUMNS": "200"}

    def __call__(self, *arguments: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """The finished process, whatever it ended with."""
        return subprocess.run(
            [sys.executable, "-m", "raymlops.cli.main", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def json(self, *arguments: str, timeout_s: float = 300.0) -> Any:
        """What a command that must succeed printed."""
        done = self(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def python(self, code: str, *arguments: str, timeout_s: float = 300.0) -> str:
        """What a program that must succeed printed last."""
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    def refused(self, *arguments: str, timeout_s: float = 300.0) -> str:
        """The one line of a command that must fail; what it shows before is left out."""
        done = self(*arguments, timeout_s=timeout_s)
        assert done.returncode == 1, (done.stdout, done.stderr)
        lines = [line for line in done.stderr.strip().splitlines() if line.startswith("error:")]
        assert len(lines) == 1, done.stderr
        return lines[0].removeprefix("error: ")
