"""SIGKILL and SIGSTOP of one process after the other, and of all at once; and a stop that was planned."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.chaos import world
from benchmarks.chaos.campaign import Campaign
from benchmarks.chaos.journal import now
from benchmarks.chaos.operated import Called, Hung
from benchmarks.chaos.victims import Kind, Process

__all__ = ["PLATFORM", "TREE", "TREE_BUT_SUPERVISOR", "Planned", "kill", "kill_tree", "plan", "restart", "stop"]

TREE, TREE_BUT_SUPERVISOR = "whole tree", "whole tree but its supervisor"
PLATFORM = "platform"
_AMID = 0.12
"""Share of the kills that come while the recovery from the one before is under way."""
_SOON_S, _LATER_S = 3.0, 1.0
_VICTIM_WITHIN_S = 90.0
_STOP_S = 30.0
_GONE_WITHIN_S = 20.0


@dataclass(frozen=True)
class Planned:
    """One kill of a schedule."""

    kind: str
    wait_s: float
    """From when all is as before; or, where it comes amid a recovery, from the kill before."""
    amid: bool
    draw: int
    """Seeds what is decided at the time."""


def plan(seed: int, kills: int, trees: int, kinds: Sequence[Kind]) -> list[Planned]:
    """The schedule of a seed: every kind by its weight, whole trees in between, in an order of chance."""
    draw = random.Random(seed)
    names = _by_weight(kinds, kills, draw)
    for number in range(trees):
        names.insert(draw.randrange(len(names) + 1), TREE if number % 2 else TREE_BUT_SUPERVISOR)
    planned: list[Planned] = []
    for name in names:
        alone = name.startswith(TREE) or not planned or planned[-1].kind.startswith(TREE)
        amid = not alone and draw.random() < _AMID
        planned.append(Planned(name, draw.uniform(0.0, _SOON_S if amid else _LATER_S), amid, draw.getrandbits(32)))
    return planned


def _by_weight(kinds: Sequence[Kind], count: int, draw: random.Random) -> list[str]:
    """So many names: each kind as often as its weight says, what is left over by chance."""
    if not kinds:
        return []
    total = sum(kind.weight for kind in kinds)
    names = [kind.name for kind in kinds for _ in range(int(count * kind.weight / total))]
    left = draw.choices(kinds, [kind.weight for kind in kinds], k=count - len(names))
    names.extend(kind.name for kind in left)
    draw.shuffle(names)
    return names


def kill(campaign: Campaign, planned: Planned, previous: str | None, *, wait: bool) -> bool:
    """Carry out one kill; whether there was such a process."""
    kind = next(each for each in campaign.kinds if each.name == planned.kind)
    draw = random.Random(planned.draw)
    if kind.needs == "client":
        return _kill_client(campaign, kind, draw)
    victim = _victim(campaign, kind, draw)
    if victim is None:
        return False
    campaign.wait(planned.wait_s)
    amid = previous if planned.amid else None
    with campaign.trouble(kind.name, "kill", deadline_s=kind.deadline_s, amid=amid, wait=wait):
        victim.send(signal.SIGKILL)
    return True


def _victim(campaign: Campaign, kind: Kind, draw: random.Random) -> Process | None:
    """A process of a kind, waited for where there should be one; a run is started where only a run has one."""
    found = campaign.there()[kind.name]
    # the controller ends a trial whose candidate fails too often, as it does when it is killed more than once
    needed = None if kind.needs == "trial" and campaign.operated.tries(world.TRIED) else kind.needs
    if not found and needed:
        try:
            campaign.during(lambda: campaign.operated.client(needed))
        except (Called, Hung) as error:
            with campaign.trouble(needed, "start") as hung:
                hung.append(f"a {needed} could not be started: {error}")
            return None
    if kind.needs == "run" or campaign.has(kind):
        deadline = now() + _VICTIM_WITHIN_S
        while not found and now() < deadline:
            campaign.wait(0.2)
            found = campaign.there()[kind.name]
    return draw.choice(found) if found else None


def _kill_client(campaign: Campaign, kind: Kind, draw: random.Random) -> bool:
    """SIGKILL of a command-line client at any moment of its life."""
    version, moment_s = draw.choice(world.VERSIONS), draw.uniform(1.0, 8.0)
    model = draw.choice(world.MOVED)
    with campaign.trouble(kind.name, "kill", deadline_s=kind.deadline_s):
        client = campaign.operated.promote(model, version, f"chaos-client-{draw.getrandbits(32):08x}")
        campaign.wait(moment_s)
        client.kill()
        client.wait()
    return True


def kill_tree(campaign: Campaign, name: str) -> bool:
    """SIGKILL of every process; then nothing where the supervisor is spared, else ``up``.

    Returns:
        Whether it was done: without a supervisor there is none to be spared, and ``up`` follows all the same.
    """
    spared = {each.pid for each in campaign.supervisors()} if name == TREE_BUT_SUPERVISOR else set()
    called = name if spared else TREE
    with campaign.trouble(called, "kill", deadline_s=120.0) as hung:
        for process in campaign.members():
            if process.pid not in spared:
                process.send(signal.SIGKILL)
        # else each tree would cost the 60 s of a call to a cluster that is no more, which kills of the raylet show, too
        campaign.end_people()
        if not spared:
            deadline = now() + _GONE_WITHIN_S
            while (left := campaign.members()) and now() < deadline:
                for process in left:
                    process.send(signal.SIGKILL)
            try:
                campaign.during(campaign.operated.up)
            except Hung as error:
                hung.append(str(error))
            except Called as error:
                print(f"    {error}", flush=True)
    return True


def restart(campaign: Campaign) -> None:
    """``down`` under load, and ``up``, as an operator does who has something to change."""
    with campaign.trouble(PLATFORM, "restart", deadline_s=120.0) as hung:
        campaign.end_people()  # else they would wait for a cluster that is no more, as with a tree
        for act in (campaign.operated.down, campaign.operated.up):
            try:
                campaign.during(act)
            except (Called, Hung) as error:
                hung.append(str(error))


def stop(campaign: Campaign, kind: Kind, draw: random.Random) -> bool:
    """SIGSTOP of one process of a kind for half a minute; whether there was one."""
    if kind.needs == "client":
        return False
    victim = _victim(campaign, kind, draw)
    if victim is None:
        return False
    with campaign.trouble(kind.name, "stop", deadline_s=kind.deadline_s):
        victim.send(signal.SIGSTOP)
        try:
            campaign.wait(_STOP_S)
        finally:
            victim.send(signal.SIGCONT)
    return True
