"""``python -m raymlops.cli.train``: what a training job runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from raymlops import runtime
from raymlops.errors import RaymlopsError
from raymlops.platform import connect

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute a recorded run in this job, or start a run of a deployed pipeline.

    Returns:
        The exit code: 0 where the run came to an outcome.
    """
    parser = argparse.ArgumentParser(prog="train")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="id of a recorded run, executed in this process")
    which.add_argument("--pipeline", help="deployed pipeline to run, as `raymlops runs start` does")
    parser.add_argument("--reason", default="on-demand")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")
    chosen = parser.parse_args(arguments)
    if chosen.run is not None:
        return runtime.execute_run(chosen.run)
    from raymlops.cli.running.runs import parse_parameters

    try:
        platform = connect(start=False)
        try:
            parameters = parse_parameters(chosen.parameter)
            run = platform.runs.start(chosen.pipeline, parameters=parameters, reason=chosen.reason)
        finally:
            platform.detach()
    except RaymlopsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0 if run.error is None else 1


if __name__ == "__main__":
    sys.exit(main())
