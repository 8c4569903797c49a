"""``raymlops configs``, and where what is shipped beside the package lies: in the wheel, or in the clone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

import raymlops
from raymlops.cli.output import console, one_line_errors
from raymlops.errors import ConfigError, StorageError

__all__ = ["add_to", "carried"]


def carried(name: str) -> Path:
    """Path of a directory that is delivered with the package, such as ``examples/flights``.

    In a wheel it stands in the package, in a clone beside it.

    Raises:
        ConfigError: It stands at neither place.
    """
    package = Path(raymlops.__file__).resolve().parent
    for place in (package / name, package.parent / name):
        if place.is_dir():
            return place
    raise ConfigError(f"{name} must come with the package, and is neither in {package} nor beside it: install it again")


@one_line_errors
def configs(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it is made.")] = Path("configs"),
) -> None:
    """Write the example settings to a directory: platform.yaml, one file per environment, Ray Serve, KubeRay."""
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(f"{directory} must be empty or not there: what is in it stays as it is")
    try:
        shutil.copytree(carried("configs"), directory, dirs_exist_ok=True)
    except OSError as error:
        raise StorageError(f"{directory} cannot be written to: {error}", path=str(directory)) from error
    console.print(f"{directory}: platform.yaml is read by every command that is typed beside it", soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(configs)
