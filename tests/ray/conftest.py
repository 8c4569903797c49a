"""The command line on the running platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.servers import not_installed

if TYPE_CHECKING:
    from raymlops.platform import Platform


@dataclass(frozen=True)
class Finished:
    """What a command ended with."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module", autouse=True)
def no_model_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends what a module's tests serve on the platform of all: its CPUs are few, and those of other modules."""
    items = [item for item in request.session.items if item.getparent(pytest.Module) is request.node]
    if not any("platform" in getattr(item, "fixturenames", ()) for item in items):
        yield
        return
    platform: Platform = request.getfixturevalue("platform")
    before = platform.metadata.plans.served_plans().keys()
    yield
    for model in platform.metadata.plans.served_plans().keys() - before:
        platform.endpoints.undeploy(model, reason="the tests of its module are over")


@pytest.fixture(scope="session")
def shared_servers() -> None:
    """What nodes that share no disk share: its programs, which Debian's packages and the lock have."""
    if missing := not_installed():
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def command(platform: Platform) -> Callable[..., Finished]:
    """Runs ``raymlops ARGUMENTS`` in this process, which is connected: nothing is started or imported anew."""
    from typer.testing import CliRunner

    from raymlops.cli.main import app

    environment = {"RAYMLOPS_HOME": str(platform.config.home), "COLUMNS": "200"}

    def run(*arguments: str) -> Finished:
        done = CliRunner().invoke(app, arguments, env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Finished(done.exit_code, done.stdout, done.stderr)

    return run
