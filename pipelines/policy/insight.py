"""What `budgets.yaml` and `alerts.yaml` may say."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipelines.policy.files import File, Id, Price, many
from pipelines.yaml_file import Dated, Exact, Name, Strict

THRESHOLDS = (50, 75, 90, 100)
SCOPES = ("team", "project", "application", "environment", "pool")
Names = Annotated[list[Name], BeforeValidator(many), Field(min_length=1)]
Action = Literal["note", "mail", "chat", "page"]


class Threshold(Strict):
    """A share of the amount, and what happens when it is reached."""

    percent: int = Field(gt=0, le=1000)
    action: Action = "note"


def _threshold(value: Any) -> Any:
    return [{"percent": one} if isinstance(one, int) else one for one in value] if isinstance(value, list) else value


Thresholds = Annotated[list[Threshold], BeforeValidator(_threshold), Field(min_length=1, max_length=20)]


class Usage(Strict):
    """A budget that grows with use: so much for each unit."""

    unit: Literal["request", "1M tokens"]
    rate: Price


class Budget(Dated):
    """An amount for each month, for whatever all of its scopes are true of.

    fixed: one amount. per_project: the amount is for each project. pooled: several teams draw on one amount, first come.
    usage: so much a unit; the amount is the cap.
    """

    id: Id
    name: Name | None = None
    kind: Literal["fixed", "per_project", "pooled", "usage"] = "fixed"
    team: Names | None = None
    project: Names | None = None
    application: Names | None = None
    environment: Names | None = None
    pool: Names | None = None
    amount: Annotated[Exact, Field(ge=0, max_digits=18, decimal_places=6)]
    usage: Usage | None = None
    owner: Name | None = None
    review_on: date | None = None
    thresholds: Thresholds | None = None

    @property
    def scope(self) -> list[tuple[str, str]]:
        return [(field, value) for field in SCOPES for value in getattr(self, field) or ()]

    @model_validator(mode="after")
    def _whole(self) -> Budget:
        if not self.scope:
            raise ValueError(f"a budget needs what it is for: one of {', '.join(SCOPES)}")
        if (self.kind == "usage") != (self.usage is not None):
            raise ValueError("`usage` with unit and rate belongs to the kind usage, and to it alone")
        if self.kind == "usage" and self.pool:
            raise ValueError("usage is not counted by pool; leave `pool` out")
        if self.kind == "pooled" and len(self.team or ()) < 2:
            raise ValueError("a pooled budget needs two teams or more")
        percents = [t.percent for t in self.thresholds or ()]
        if len(set(percents)) < len(percents):
            raise ValueError("two thresholds have the same percent")
        return self


class Growth(Dated):
    """By which factor a team expects the days that remain to differ from the last week."""

    team: Id
    factor: Annotated[Exact, Field(gt=0, le=100, max_digits=9, decimal_places=6)]


class Budgets(File):
    thresholds: Thresholds = [Threshold(percent=percent) for percent in THRESHOLDS]
    growth: list[Growth] = []
    budgets: list[Budget] = []

