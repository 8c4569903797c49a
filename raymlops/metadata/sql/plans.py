"""Serving plans."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Integer, String, Table, Text, func, insert, select

from raymlops.errors import DeploymentNotFound, StaleWrite
from raymlops.metadata.sql.blessed import require_blessed
from raymlops.metadata.sql.schema import tables
from raymlops.metadata.sql.store import SqlStore, decode, encode, same
from raymlops.records.plans import ServingPlan

__all__ = ["SqlPlanStore"]

plans = Table(
    "plans",
    tables,
    Column("model", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)


class SqlPlanStore(SqlStore):
    """``PlanStore`` in SQL."""

    def put_plan(self, plan: ServingPlan) -> ServingPlan:
        body = encode(plan)
        with self._database.write() as connection:
            present = select(plans.c.body).where(plans.c.model == plan.model, plans.c.number == plan.number)
            stored = connection.execute(present).scalar_one_or_none()
            if stored is not None and same(decode(ServingPlan, stored), plan):
                return plan
            latest = _latest_number(connection, plan.model)
            if plan.number != latest + 1:
                raise StaleWrite(
                    f"plan of model {plan.model!r} must have number {latest + 1}, got {plan.number}",
                    latest=latest,
                    number=plan.number,
                )
            require_blessed(connection, plan.model, plan.versions - _versions_of(connection, plan.model, latest))
            connection.execute(insert(plans).values(model=plan.model, number=plan.number, body=body))
            return plan

    def find_plan(self, model: str) -> ServingPlan | None:
        wanted = select(plans.c.body).where(plans.c.model == model).order_by(plans.c.number.desc()).limit(1)
        with self._database.read() as connection:
            body = connection.execute(wanted).scalar_one_or_none()
        return None if body is None else decode(ServingPlan, body)

    def get_plan(self, model: str) -> ServingPlan:
        plan = self.find_plan(model)
        if plan is None:
            raise DeploymentNotFound.of(model)
        return plan

    def plan_numbers(self) -> dict[str, int]:
        wanted = select(plans.c.model, func.max(plans.c.number)).group_by(plans.c.model).order_by(plans.c.model)
        with self._database.read() as connection:
            return {model: number for model, number in connection.execute(wanted)}

    def served_plans(self) -> dict[str, ServingPlan]:
        newest = select(plans.c.model, func.max(plans.c.number).label("number")).group_by(plans.c.model).subquery()
        same_plan = (plans.c.model == newest.c.model) & (plans.c.number == newest.c.number)
        wanted = select(plans.c.body).join(newest, same_plan).order_by(plans.c.model)
        return {plan.model: plan for plan in self._all(ServingPlan, wanted) if plan.served}

    def list_plans(self, model: str) -> list[ServingPlan]:
        wanted = select(plans.c.body).where(plans.c.model == model).order_by(plans.c.number)
        return self._all(ServingPlan, wanted)


def _versions_of(connection: Connection, model: str, number: int) -> frozenset[int]:
    """The versions that a plan serves; none where there is no such plan."""
    wanted = select(plans.c.body).where(plans.c.model == model, plans.c.number == number)
    body = connection.execute(wanted).scalar_one_or_none()
    return frozenset() if body is None else decode(ServingPlan, body).versions


def _latest_number(connection: Connection, model: str) -> int:
    return connection.execute(select(func.max(plans.c.number)).where(plans.c.model == model)).scalar_one() or 0
