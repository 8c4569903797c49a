"""Wanted and running applications of Serve, and the actions that lead from one to the other. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from raymlops.config.serving import ServingConfig
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.serving.endpoints import EndpointStatus, Hosting

__all__ = [
    "POOL_NAME",
    "Action",
    "Observed",
    "Phase",
    "Remove",
    "Retries",
    "Start",
    "Wanted",
    "candidate_name",
    "cpus_needed",
    "diff",
    "endpoint_name",
    "free_after",
    "is_ours",
    "numbers_of",
    "pool_to_keep",
    "status_of",
    "to_move_out",
    "wanted_candidate",
    "wanted_of",
]

ENDPOINT, CANDIDATE, POOL = "ModelReplica", "CandidateReplica", "PoolReplica"
"""Names of our deployments: an application is ours where it has our name and holds one of these."""
_PREFIXES = {"model-": ENDPOINT, "candidate-": CANDIDATE, "pool-": POOL}
POOL_NAME = "pool-models"
"""Of the application that answers for all pooled models."""
_LONGEST_WAIT_S = 60.0


def endpoint_name(model: str) -> str:
    """Of the application that answers for a model by itself."""
    return f"model-{model}"


def candidate_name(model: str, version: int) -> str:
    """Of the application that holds a version on trial."""
    return f"candidate-{model}-{version}"


@dataclass(frozen=True)
class Wanted:
    """An application that a plan names."""

    name: str
    model: str
    replicas: int
    cpus: float
    """Logical CPUs of one replica."""
    trial: Trial | None = None
    """Of a candidate, with its resources filled in; ``None``: an endpoint."""
    pooled: bool = False
    """Whether it is the pool; ``model`` is then one of those that the pool answers for."""

    @property
    def shape(self) -> str:
        """The part of an application whose change needs a new deployment on Serve."""
        memory = "" if self.trial is None else f"/{self.trial.memory_bytes}"
        return f"{self.replicas}x{self.cpus:g}{memory}"


class Phase(StrEnum):
    """The state of an application, as Serve reports it."""

    STARTING = "starting"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    """Serve restarts replicas of it by itself."""
    FAILED = "failed"
    """Serve has given it up."""
    REMOVING = "removing"


@dataclass(frozen=True)
class Observed:
    """An application of the cluster, the platform's own or a foreign one."""

    name: str
    phase: Phase
    deployments: tuple[str, ...] = ()
    """Names; none right after it was asked for."""
    shape: str | None = None
    """As in ``Wanted``; ``None`` where it does not say."""
    running: int = 0
    """Replicas that Serve takes to be up."""
    message: str = ""
    age_s: float = 0.0
    """Since it was last asked for."""
    plans: tuple[int, ...] = ()
    """Of an endpoint: the number of the plan that each replica said it serves; of a candidate: its version."""
    reply: str | None = None
    """Of an endpoint: what the front door said when it was asked for the model; ``None``: the model answered."""
    hosted: Mapping[str, tuple[Hosting, ...]] = field(default_factory=dict)
    """Of the pool: model -> how it stands in each replica that said so."""


@dataclass(frozen=True)
class Start:
    """Have Serve run an application, in place of one of that name where there is one."""

    wanted: Wanted

    @property
    def name(self) -> str:
        """Of the application."""
        return self.wanted.name


@dataclass(frozen=True)
class Remove:
    """Have Serve remove an application."""

    name: str


Action = Start | Remove


def wanted_of(plans: Iterable[ServingPlan], config: ServingConfig) -> list[Wanted]:
    """The applications that some models' newest plans name; the pool once, whatever the number of its models."""
    found = []
    pool_wanted = False
    for plan in plans:
        if not plan.served:
            continue
        if not plan.pooled:
            found.append(Wanted(endpoint_name(plan.model), plan.model, plan.replicas, config.replica_cpus))
        elif not pool_wanted:
            pool_wanted = True
            found.append(Wanted(POOL_NAME, plan.model, config.pool.replicas, config.pool.cpus, pooled=True))
        if plan.trial is not None:
            found.append(wanted_candidate(plan.model, plan.trial, config))
    return found


def pool_to_keep(
    plans: Mapping[str, ServingPlan], observed: Collection[Observed], config: ServingConfig
) -> Wanted | None:
    """The pool, where it alone can answer for a model that has left it; ``None`` where it may end with its last model.

    Without it, a model whose own application does not start in time would have no endpoint.
    """
    seen = {one.name: one for one in observed}
    hosted = seen[POOL_NAME].hosted if POOL_NAME in seen else {}
    for model, each in sorted(hosted.items()):
        plan, own = plans.get(model), seen.get(endpoint_name(model))
        left = plan is not None and plan.served and not plan.pooled
        if left and any(one.plan for one in each) and (own is None or not own.running):
            return Wanted(POOL_NAME, model, config.pool.replicas, config.pool.cpus, pooled=True)
    return None


def wanted_candidate(model: str, trial: Trial, config: ServingConfig) -> Wanted:
    """The application of a version on trial; what the trial leaves open is as configured."""
    cpus = trial.cpus or config.candidate.cpus
    memory_bytes = trial.memory_bytes or config.candidate.memory_bytes
    filled = trial.model_copy(update={"cpus": cpus, "memory_bytes": memory_bytes})
    return Wanted(candidate_name(model, trial.version), model, 1, cpus, filled)


def is_ours(observed: Observed) -> bool:
    """Whether an application may be removed where no plan names it."""
    kinds = {kind for prefix, kind in _PREFIXES.items() if observed.name.startswith(prefix)}
    return bool(kinds) and set(observed.deployments) == kinds


def diff(wanted: Collection[Wanted], observed: Collection[Observed], stuck_after_s: float = 120.0) -> list[Action]:
    """Actions by name; empty where every application is as wanted.

    Args:
        wanted: The applications that plans name, with unique names.
        observed: All applications of the cluster, of names that differ.
        stuck_after_s: An application that has been starting for longer is started anew.

    Returns:
        At most one action per name, in the order of names.
    """
    seen = {one.name: one for one in observed}
    named = {one.name: one for one in wanted}
    actions: list[Action] = [
        Remove(one.name)
        for one in observed
        if one.name not in named and is_ours(one) and one.phase is not Phase.REMOVING
    ]
    for name, want in named.items():
        found = seen.get(name)
        if found is None or (not _is_foreign(found) and _starts_anew(want, found, stuck_after_s)):
            actions.append(Start(want))
    return sorted(actions, key=lambda action: action.name)


def _is_foreign(found: Observed) -> bool:
    """Whether a foreign application has the name; an application without deployments is starting."""
    return bool(found.deployments) and not is_ours(found)


def _starts_anew(want: Wanted, found: Observed, stuck_after_s: float) -> bool:
    if found.phase in {Phase.FAILED, Phase.REMOVING}:
        return True
    if found.phase is Phase.STARTING and found.age_s > stuck_after_s:
        return True
    return found.shape is not None and found.shape != want.shape


def status_of(
    plan: ServingPlan, wanted: Collection[Wanted], observed: Collection[Observed], lack: str | None, at_s: float
) -> EndpointStatus:
    """How a model's endpoint stands against its plan.

    Args:
        plan: The newest, of a model that is served.
        wanted: Applications, the plan's among them.
        observed: All applications of the cluster.
        lack: Missing resources of the applications that are starting; ``None`` where the free ones suffice.
        at_s: When ``observed`` was seen, seconds since 1970.
    """
    seen = {one.name: one for one in observed}
    answering = reached = 0
    answers = False
    endpoint: Wanted | None = None
    reasons = []
    for want in wanted:
        if want.model != plan.model:
            continue
        found = seen.get(want.name)
        if want.trial is not None:
            problem = _problem(want, found, lack)
            if problem is None and found is not None and plan.trial is not None and not found.plans:
                problem = f"version {plan.trial.version} does not answer"
            reasons += [] if problem is None else [f"trial: {problem}"]
            continue
        endpoint, numbers = want, () if found is None else numbers_of(want, found)
        answering, reached = sum(number >= plan.number for number in numbers), sum(number > 0 for number in numbers)
        reasons += _endpoint_problems(plan, want, found, numbers, lack)
        answers = found is not None and not _is_foreign(found) and found.reply is None and reached > 0
    reason = "; ".join(reasons)
    return EndpointStatus(
        model=plan.model,
        plan=plan.number,
        champion=plan.champion,
        replicas=plan.replicas if endpoint is None else endpoint.replicas,
        answering=answering,
        answers=answers,
        reason=f"plan {plan.number} (version {plan.champion}) is planned; {reason}" if reason else None,
        pooled=plan.pooled,
        seen_at_s=at_s,
    )


def numbers_of(want: Wanted, found: Observed) -> tuple[int, ...]:
    """The plans that replicas said they serve, of the model that an application is wanted for."""
    if not want.pooled:
        return found.plans
    return tuple(one.plan for one in found.hosted.get(want.model, ()))


def to_move_out(plans: Mapping[str, ServingPlan], observed: Collection[Observed]) -> dict[str, str]:
    """Model -> why it should leave the pool, of pooled models."""
    hosted = next((one.hosted for one in observed if one.name == POOL_NAME), {})
    told = {model: next((one.leaves for one in each if one.leaves), None) for model, each in hosted.items()}
    return {model: why for model, why in sorted(told.items()) if why and model in plans and plans[model].pooled}


def _endpoint_problems(
    plan: ServingPlan, want: Wanted, found: Observed | None, numbers: Sequence[int], lack: str | None
) -> list[str]:
    problem = _problem(want, found, lack)
    if problem is not None or found is None:
        return [problem or ""]
    if not numbers:
        return ["the pool has not heard of it yet" if want.pooled and found.hosted else "no replica answers"]
    answering = sum(number >= plan.number for number in numbers)
    told = [one.problem for one in found.hosted.get(plan.model, ()) if one.problem is not None]
    if told:
        return [f"{len(told)} of {len(numbers)} replicas of the pool cannot answer for it: {told[0]}"]
    old = sorted({number for number in numbers if number < plan.number})
    if old:
        return [f"{len(numbers) - answering} of {len(numbers)} replicas serve plan {old[0]}"]
    if answering < want.replicas:
        return [f"{answering} of {want.replicas} replicas answer"]
    return [] if found.reply is None else [f"its replicas answer, callers do not reach them: {found.reply}"]


def _problem(want: Wanted, found: Observed | None, lack: str | None) -> str | None:
    """Why an application is not up; ``None`` where Serve takes it to be."""
    kind = "the pool" if want.pooled else "its endpoint"
    what = kind if want.trial is None else f"the process of version {want.trial.version}"
    if found is None:
        return f"{what} is not started: {lack}" if lack else f"{what} is not started yet"
    if _is_foreign(found):
        return f"another application has the name {want.name}"
    starting = f"does not fit: {lack}" if lack else f"has been starting for {found.age_s:.0f} s"
    says = bool(found.plans or found.hosted)
    said = {
        Phase.STARTING: starting,
        Phase.FAILED: f"does not start: {found.message or 'Serve does not say why'}",
        Phase.REMOVING: "is being removed, to be started anew",
        Phase.UNHEALTHY: None if says else f"is unhealthy: {found.message or 'a replica is gone'}",
    }.get(found.phase)
    return None if said is None else f"{what} {said}"


def free_after(free: Mapping[str, float], needs: Sequence[float]) -> dict[str, float] | None:
    """Free CPUs of each node once processes are placed; ``None`` where one does not fit.

    Args:
        free: Node -> free CPUs.
        needs: CPUs of each process; a process lies on one node.

    Returns:
        ``None`` where they do not fit.
    """
    left = dict(free)
    for need in sorted(needs, reverse=True):
        node = next((node for node in sorted(left, key=lambda one: (-left[one], one)) if left[node] >= need), None)
        if node is None:
            return None
        left[node] -= need
    return left


class Retries:
    """When an object that was acted on may be acted on again: later each time, until it is as wanted."""

    def __init__(self) -> None:
        self._waits: dict[str, tuple[int, float]] = {}

    def may(self, name: str, now_s: float) -> bool:
        """Whether it may be acted on."""
        return now_s >= self._waits.get(name, (0, 0.0))[1]

    def acted(self, name: str, now_s: float) -> None:
        """Note that it was acted on, whether with success or not."""
        times = self._waits.get(name, (0, 0.0))[0] + 1
        self._waits[name] = (times, now_s + min(2.0**times, _LONGEST_WAIT_S))

    def forget(self, name: str) -> None:
        """Let it be acted on at once."""
        self._waits.pop(name, None)

    def settle(self, unsettled: Collection[str]) -> None:
        """Forget about everything that nothing has to be done about."""
        self._waits = {name: wait for name, wait in self._waits.items() if name in unsettled}


def cpus_needed(
    plan: ServingPlan, before: ServingPlan | None, config: ServingConfig, *, pool_runs: bool = False
) -> list[float]:
    """CPUs of each process that is new in a plan; what is planned already has its room, or waits for it."""
    planned = {} if before is None else {want.name: want.replicas for want in wanted_of([before], config)}
    if pool_runs:
        planned[POOL_NAME] = config.pool.replicas
    new = ((want.cpus, max(want.replicas - planned.get(want.name, 0), 0)) for want in wanted_of([plan], config))
    return [cpus for cpus, count in new for _ in range(count)]
