"""``python -m benchmarks.chaos``: a chaos campaign, or a part of one, and its verdict.

Every part has a platform of its own and leaves its journals in a directory; the report is of all parts of a seed.
Exit code 0: nothing was wrong, lost, hung or mended by hand. 1: something was. 2: a part was not brought to its end.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from benchmarks.chaos import kills, report, world
from benchmarks.chaos.campaign import Campaign
from benchmarks.chaos.journal import now
from benchmarks.chaos.judge import Measured, Verdict, judge, measure
from benchmarks.chaos.operated import Called, Hung, Operated, Receiver
from benchmarks.chaos.scenarios import SCENARIOS, Scenario, cpus_taken
from benchmarks.chaos.trace import LABEL, PROMOTE, PUSH, read_trace
from benchmarks.chaos.victims import KINDS, Kind
from benchmarks.chaos.watch import KnownAnswers

_KILLS, _TREES, _MINUTES = 200, 10, 40.0


def run_part(arguments: argparse.Namespace, name: str, scenario: Scenario | None = None) -> int:
    """One platform from ``up`` to ``down``; how many kills of the schedule were done."""
    out = arguments.out / f"{len(list(arguments.out.glob('part-*'))):03}-{name}"
    out = out.with_name(f"part-{out.name}")
    out.mkdir(parents=True)
    place = Path(tempfile.mkdtemp(prefix="chaos-"))
    home, receiver = place / "home", Receiver()
    kinds = tuple(replace(each, pattern=arguments.supervisor) if each.name == "supervisor" else each for each in KINDS)
    about: dict[str, Any] = {"part": name, "seed": arguments.seed, "first": arguments.first, "done": 0, "aborted": None}
    started = now()
    with scenario.home(home) if scenario else nullcontext():
        operated = Operated(home, receiver.url, scenario.settings if scenario else None)
        draw = random.Random(arguments.seed)
        campaign = Campaign(operated, out, models=arguments.models, rate=arguments.rate, kinds=kinds, draw=draw)
        try:
            about["up_s"] = round(campaign.start(project=_needs_project(arguments, kinds, scenario)), 1)
            with campaign.trouble("nothing", "load alone"):
                campaign.wait(arguments.quiet)
            if scenario is None:
                _kill_and_stop(campaign, arguments, about)
            else:
                scenario.act(campaign, receiver)
            campaign.finish()
        except (Called, Hung, TimeoutError) as error:
            about["aborted"] = str(error)
            print(f"the part could not be brought to its end: {error}", flush=True)
        finally:
            campaign.close()
            receiver.close()
            minutes = round((now() - started) / 60, 1)
            about |= {
                "minutes": minutes,
                "restarts_of_people": campaign.restarts,
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
            }
            (out / "about.json").write_bytes(orjson.dumps(about))
            _keep_logs(home, out)
    shutil.rmtree(place, ignore_errors=True)
    return int(about["done"])


def _keep_logs(home: Path, out: Path) -> None:
    for log in home.glob("*.log"):
        shutil.copy(log, out / log.name)


def _needs_project(arguments: argparse.Namespace, kinds: tuple[Kind, ...], scenario: Scenario | None) -> bool:
    if scenario is not None:
        return scenario.project
    return any(kind.needs == "run" for kind in _chosen(arguments, kinds)) and not arguments.hog


def _chosen(arguments: argparse.Namespace, kinds: tuple[Kind, ...]) -> list[Kind]:
    """The kinds that are drawn from."""
    chosen = [kind for kind in kinds if not arguments.only or kind.name in arguments.only]
    # a raylet that dies takes the hog along, and where no CPU is free no run begins
    return [kind for kind in chosen if kind.weight >= 1.0] if arguments.hog else chosen


def _kill_and_stop(campaign: Campaign, arguments: argparse.Namespace, about: dict[str, Any]) -> None:
    deadline = now() + arguments.minutes * 60
    absent: set[str] = set()
    there = campaign.there()
    # kinds that this platform has none of would only shorten the campaign
    kinds = [kind for kind in _chosen(arguments, campaign.kinds) if there[kind.name] or kind.needs in {"run", "client"}]
    absent.update(kind.name for kind in _chosen(arguments, campaign.kinds) if kind not in kinds)
    planned = kills.plan(arguments.seed, arguments.kills, arguments.trees, kinds)[arguments.first :]
    previous: str | None = None
    with cpus_taken(campaign) if arguments.hog else nullcontext():
        for place, each in enumerate(planned):
            if now() > deadline:
                break
            following = planned[place + 1] if place + 1 < len(planned) else None
            if each.kind.startswith(kills.TREE):
                kills.kill_tree(campaign, each.kind)
            elif not kills.kill(campaign, each, previous, wait=following is None or not following.amid):
                absent.add(each.kind)
            previous = each.kind
            about["done"] = place + 1
        for _ in range(arguments.restarts):
            kills.restart(campaign)
        for kind in kinds:
            if arguments.stops and ("all" in arguments.stops or kind.name in arguments.stops) and now() < deadline:
                kills.stop(campaign, kind, random.Random(arguments.seed))
    about["absent"] = sorted(absent)


def write_report(arguments: argparse.Namespace) -> bool:
    """Judge every part that has come to its end, and write the figures; whether all of it passed."""
    oracle, verdict = KnownAnswers(), Verdict()
    measured: list[Measured] = []
    requests = acknowledged = 0
    minutes, dates, aborted, absent = 0.0, set(), [], set[str]()
    for part in sorted(arguments.out.glob("part-*")):
        about = orjson.loads((part / "about.json").read_bytes()) if (part / "about.json").exists() else {}
        absent.update(about.get("absent", ()))
        if not (part / "state.json").exists():
            aborted.append(f"{part.name}: {about.get('aborted', 'it was cut off')}")
            continue
        trace = read_trace(part)
        found = judge(trace, oracle)
        for name, faults in vars(found).items():
            getattr(verdict, name).extend(faults)
        measured.extend(measure(trace, oracle))
        requests += len(trace.requests)
        acknowledged += sum(each.ok for each in trace.operations if each.op in {PUSH, LABEL, PROMOTE})
        minutes += about.get("minutes", 0.0)
        dates.add(about.get("date", ""))
    told = {
        "seed": arguments.seed,
        "date": " and ".join(sorted(dates)),
        "minutes": round(minutes),
        "models": arguments.models,
        "requests": requests,
        "acknowledged": acknowledged,
        "aborted": aborted,
        "absent": sorted(absent),
    }
    document = report.figures(measured, verdict, told)
    (arguments.out / "report.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    table = report.markdown(document)
    (arguments.out / "table.md").write_text(table)
    if arguments.page is not None:
        arguments.page.write_text(report.into_page(arguments.page.read_text(), table))
    print(table)
    for name, faults in vars(verdict).items():
        for fault in faults[:5]:
            print(f"{name}: {fault}")
    for each in aborted:
        print(f"not brought to its end: {each}")
    return verdict.passed


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills", type=int, help=f"SIGKILLs of single processes ({_KILLS})")
    parser.add_argument("--trees", type=int, help=f"SIGKILLs of the whole tree ({_TREES})")
    parser.add_argument("--restarts", type=int, default=0, help="`down` and `up`, under load")
    parser.add_argument("--only", action="append", default=[], choices=[kind.name for kind in KINDS], metavar="KIND")
    parser.add_argument("--first", type=int, default=0, help="begin at this place of the schedule")
    parser.add_argument("--resume", action="store_true", help="begin where the parts that are there end")
    parser.add_argument("--stops", action="append", default=[], metavar="KIND", help="SIGSTOP of 30 s; or `all`")
    parser.add_argument("--scenario", action="append", default=[], choices=[*SCENARIOS, "all"])
    parser.add_argument("--hog", action="store_true", help="somebody else holds every free CPU")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="begin nothing new after this")
    parser.add_argument("--models", type=int, default=len(world.MODELS), choices=range(3, len(world.MODELS) + 1))
    parser.add_argument("--quiet", type=float, default=10.0, help="seconds of load alone, before anything is done")
    parser.add_argument("--rate", type=float, default=30.0, help="requests per second")
    parser.add_argument("--supervisor", default=next(k.pattern for k in KINDS if k.name == "supervisor"))
    parser.add_argument("--out", type=Path, help="where parts are kept (out/chaos/SEED)")
    parser.add_argument("--page", type=Path, help="write the table into this page, too")
    parser.add_argument("--report", action="store_true", help="run nothing; report of the parts that are there")
    return parser.parse_args()


def main() -> int:
    """Run what is asked for; the exit code."""
    arguments = _parse()
    # whoever ends the campaign early leaves no platform behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    arguments.out = arguments.out or Path("out") / "chaos" / str(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.resume:
        abouts = [orjson.loads(path.read_bytes()) for path in arguments.out.glob("part-*/about.json")]
        arguments.first = max((each["first"] + each["done"] for each in abouts), default=0)
    named = arguments.scenario if "all" not in arguments.scenario else list(SCENARIOS)
    asked = arguments.kills is not None or arguments.trees is not None or arguments.stops or arguments.restarts
    if not asked and not named:
        arguments.kills, arguments.trees = _KILLS, _TREES
    arguments.kills, arguments.trees = arguments.kills or 0, arguments.trees or 0
    if not arguments.report:
        if asked or not named:
            run_part(arguments, "hog" if arguments.hog else "kills")
        for name in named:
            run_part(arguments, name, SCENARIOS[name])
    passed = write_report(arguments)
    complete = all((part / "state.json").exists() for part in arguments.out.glob("part-*"))
    return 2 if not complete else 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
