"""``raymlops models ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show, show_json
from raymlops.cli.registry.model_card import render_card
from raymlops.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The model registry.")
_Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]


@app.command("list")
@one_line_errors
def list_versions(name: str, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the versions of a model, oldest first."""
    with platform(config) as connected:
        show(connected.models.list(name), ["version", "state", "created_at", "run_id", "digest"], as_json=json)


@app.command("show")
@one_line_errors
def show_version(name: str, version: int, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one version as JSON."""
    del json  # there is no other form
    with platform(config) as connected:
        show_json(connected.models.get(name, version))


@app.command()
@one_line_errors
def card(
    name: str,
    version: int,
    html: Annotated[Path | None, typer.Option(help="Write the page here; it opens without a network.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the model card of a version: data, parameters, quality and validations."""
    with platform(config) as connected:
        values, page = connected.models.card(name, version)
    if html is not None:
        html.write_text(page, encoding="utf-8")
        console.print(f"written to {html}")
    if json:
        show_json(values)
    elif html is None:
        console.print(render_card(values), highlight=False)


@app.command()
@one_line_errors
def verify(name: str, version: int, config: ConfigOption = None) -> None:
    """Check every file of a version against its manifest, then load it and compare its answers."""
    with platform(config) as connected:
        show_json({"digest": connected.models.verify(name, version).digest, "verified": True})


@app.command()
@one_line_errors
def history(name: str, json: JsonOption = False, config: ConfigOption = None) -> None:
    """List every change of the aliases, oldest first."""
    with platform(config) as connected:
        show(connected.models.history(name), ["at", "alias", "version", "previous", "reason"], as_json=json)


@app.command()
@one_line_errors
def lineage(
    name: Annotated[str | None, typer.Argument()] = None,
    version: Annotated[int | None, typer.Argument()] = None,
    request: Annotated[str | None, typer.Option(help="Id of an answered request, instead of a version.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the lineage of a version, or of the answer to a request (of model NAME, or any), as JSON."""
    del json  # there is no other form
    if request is None and (name is None or version is None):
        raise ConfigError("lineage needs NAME VERSION, or --request ID")
    with platform(config) as connected:
        if request is not None:
            show_json(connected.models.explain(request, name))
        elif name is not None and version is not None:
            show_json(connected.models.lineage(name, version))


@app.command("trained-on")
@one_line_errors
def trained_on(
    table: Annotated[str, typer.Argument(help="TABLE, or TABLE@VERSION.")],
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the versions, of any model, that were trained on a table: on one version of it, or on any."""
    name, number = parse_table(table)
    with platform(config) as connected:
        found = connected.models.trained_on(name, number)
    show(found, ["name", "version", "state", "created_at", "run_id", "training_set"], as_json=json)


@app.command()
@one_line_errors
def deploy(
    name: str,
    version: int,
    features: Annotated[str | None, typer.Option(help="Feature service that `predict` joins online.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="How many; as configured where left out.")] = None,
    pool: Annotated[
        bool | None, typer.Option("--pool/--own", help="Answer in the pool's process, or in one of its own.")
    ] = None,
    reason: _Reason = "deployed",
    config: ConfigOption = None,
) -> None:
    """Serve a version as champion; returns when every replica answers with it."""
    with platform(config) as connected:
        plan = connected.endpoints.deploy(
            name, version, features=features, replicas=replicas, pooled=pool, reason=reason
        )
        show_json(plan)


@app.command()
@one_line_errors
def undeploy(name: str, reason: _Reason = "on demand", config: ConfigOption = None) -> None:
    """Stop serving a model; its versions, plans and history stay."""
    with platform(config) as connected:
        show_json(connected.endpoints.undeploy(name, reason=reason))


@app.command()
@one_line_errors
def retire(name: str, version: int, reason: _Reason = "on demand", config: ConfigOption = None) -> None:
    """Retire a version, so that it is never served again; a version in service is refused."""
    with platform(config) as connected:
        show_json(connected.models.retire(name, version, reason=reason))


@app.command()
@one_line_errors
def promote(
    name: str, version: int, reason: _Reason = "on demand", json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Make a version the champion."""
    del json  # there is no other form
    with platform(config) as connected:
        show_json(connected.endpoints.promote(name, version, reason=reason))


@app.command()
@one_line_errors
def block(name: str, version: int, reason: _Reason = "on demand", config: ConfigOption = None) -> None:
    """Block a version: its requests go to the backup, or to the baseline."""
    with platform(config) as connected:
        show_json(connected.endpoints.block(name, version, reason=reason))


@app.command()
@one_line_errors
def unblock(name: str, version: int, reason: _Reason = "on demand", config: ConfigOption = None) -> None:
    """Unblock a version."""
    with platform(config) as connected:
        show_json(connected.endpoints.unblock(name, version, reason=reason))


@app.command()
@one_line_errors
def rollback(name: str, reason: _Reason = "on demand", json: JsonOption = False, config: ConfigOption = None) -> None:
    """End the trial; without a trial, make the backup champion again."""
    del json  # there is no other form
    with platform(config) as connected:
        show_json(connected.endpoints.rollback(name, reason=reason))


@app.command("rebuild-mlflow")
@one_line_errors
def rebuild_mlflow(config: ConfigOption = None) -> None:
    """Rebuild the MLflow projection from the metadata store."""
    with platform(config) as connected:
        show_json({"written": connected.models.rebuild_mlflow()})


def parse_table(text: str) -> tuple[str, int | None]:
    """``TABLE`` or ``TABLE@VERSION``, as a training set's manifest has them.

    Raises:
        ConfigError: What follows the last ``@`` is no number.
    """
    name, separator, number = text.rpartition("@")
    if not separator:
        return text, None
    if not name or not number.isdecimal():
        raise ConfigError(f"a table must be TABLE or TABLE@VERSION, got {text!r}")
    return name, int(number)
