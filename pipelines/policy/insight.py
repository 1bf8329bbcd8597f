"""What `budgets.yaml` and `alerts.yaml` may say."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipelines.policy.files import File, Id, Price, many
from pipelines.yaml_file import Dated, Exact, Name, Strict

THRESHOLDS = (50, 75, 90, 100)
SCOPES = ("team", "project", "application", "environment", "pool")
Names = Annotated[list[Name], BeforeValidator(many), Field(min_length=1)]
Metric = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]
UnitPrice = Annotated[Exact, Field(gt=0, max_digits=18, decimal_places=6)]
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


class Scoped(Dated):
    """What all of its scopes are true of."""

    team: Names | None = None
    project: Names | None = None
    application: Names | None = None
    environment: Names | None = None
    pool: Names | None = None

    @property
    def scope(self) -> list[tuple[str, str]]:
        return [(field, value) for field in SCOPES for value in getattr(self, field) or ()]


class Budget(Scoped):
    """An amount for each month, for whatever all of its scopes are true of.

    fixed: one amount. per_project: the amount is for each project. pooled: several teams draw on one amount, first come.
    usage: so much a unit; the amount is the cap. `models` are those that gateways should allow: passed on, never enforced here.
    """

    id: Id
    name: Name | None = None
    kind: Literal["fixed", "per_project", "pooled", "usage"] = "fixed"
    amount: Annotated[Exact, Field(ge=0, max_digits=18, decimal_places=6)]
    usage: Usage | None = None
    owner: Name | None = None
    review_on: date | None = None
    thresholds: Thresholds | None = None
    models: Names | None = None

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


class UnitCost(Scoped):
    """An outcome of the business, by the name that landed outcomes give it, and whose cost it is; without a scope, all of it.

    `alternative` is what one would cost without AI, or `alternative_metric` a landed metric that says it of all of them.
    """

    id: Id
    name: Name | None = None
    metric: Metric
    alternative: UnitPrice | None = None
    alternative_metric: Metric | None = None
    baseline: UnitPrice | None = None
    target: UnitPrice | None = None

    @model_validator(mode="after")
    def _one(self) -> UnitCost:
        if self.alternative is not None and self.alternative_metric is not None:
            raise ValueError("name alternative (for each) or alternative_metric (landed), not both")
        return self


class Instead(Strict):
    """Another model of a vendor, or one of our own model servers."""

    provider: Id | None = None
    model: Name | None = None
    serving_pool: Id | None = None

    @model_validator(mode="after")
    def _one(self) -> Instead:
        if (self.serving_pool is None) == (self.model is None) or (self.provider is None) != (self.model is None):
            raise ValueError("name a provider and its model, or a serving_pool")
        return self


class Candidate(Strict):
    """Traffic that another model could answer, to see what the month would have cost with it; without a team or application, all of it."""

    provider: Id
    model: Name
    team: Id | None = None
    application: Name | None = None
    instead: Instead


class Offer(Dated):
    """What a vendor takes off the price of use that is committed ahead, to see what a commitment would have saved."""

    provider: Id
    models: Annotated[list[Name], BeforeValidator(many), Field(min_length=1)] = ["*"]
    percent: Annotated[Exact, Field(gt=0, le=100, max_digits=9, decimal_places=6)]


class Embeddings(Dated):
    """What calls that embed say of themselves where they embed documents that are new, or again; all that is named is true of them."""

    documents: Literal["new", "again"]
    request_type: Name | None = None
    project: Name | None = None
    application: Name | None = None
    environment: Name | None = None

    @model_validator(mode="after")
    def _told(self) -> Embeddings:
        if not any((self.request_type, self.project, self.application, self.environment)):
            raise ValueError("say which calls: request_type, project, application or environment")
        return self


class Budgets(File):
    thresholds: Thresholds = [Threshold(percent=percent) for percent in THRESHOLDS]
    growth: list[Growth] = []
    budgets: list[Budget] = []
    unit_economics: list[UnitCost] = []
    candidates: list[Candidate] = []
    embeddings: list[Embeddings] = []
    commitment_offers: list[Offer] = []


# alerts.yaml ------------------------------------------------------------------------------------------------------

Whole = Annotated[int, Field(gt=0, le=1_000_000_000_000)]
Share = Annotated[Exact, Field(gt=0, le=10_000, max_digits=9, decimal_places=2)]
Money = Annotated[Exact, Field(ge=0, max_digits=18, decimal_places=6)]
FIFTY, TWENTY = Decimal(50), Decimal(20)


class Rule(Strict):
    """What every kind of alert says beside its limits: what it asks for, and the names it does not watch."""

    action: Action = "chat"
    unwatched: Annotated[list[Name], BeforeValidator(many)] = Field([], alias="except")


class HourlySpend(Rule):
    """A team's hours that cost more than is usual at this hour: by so many percent and this much money an hour."""

    percent: Share = FIFTY
    amount: Money = FIFTY


class FeatureGrowth(Rule):
    """An application's last seven days against the seven before: by so many percent and this much money."""

    action: Action = "mail"
    percent: Share = FIFTY
    amount: Money = Decimal(100)


class LargeRequest(Rule):
    """A single request with more tokens, in and out."""

    tokens: Whole = 50_000


class CallLoop(Rule):
    """So many calls or more of one trace, or of one session, within so many minutes."""

    action: Action = "page"
    calls: Annotated[int, Field(gt=1, le=1_000_000)] = 100
    minutes: Annotated[int, Field(gt=0, le=1440)] = 60


class FailedCalls(Rule):
    """A project's failed calls of a day: so many or more, and so many percent or more of all."""

    percent: Share = TWENTY
    calls: Whole = 50


class CacheDrop(Rule):
    """The share of input tokens that a provider's cache answered: a week, so many points below the four weeks before."""

    action: Action = "mail"
    points: Share = Decimal(15)
    tokens: Whole = 10_000_000  # of input in the week


class GpuIdle(Rule):
    """The GPUs of a cluster: used by less than so many percent for more than so many hours on end."""

    percent: Share = TWENTY
    hours: Annotated[int, Field(ge=1, le=24)] = 1


class GpuQueue(Rule):
    """A day on which so many jobs of a team or more started on a cluster, and 95 of 100 had waited up to so many minutes or more."""

    minutes: Annotated[int, Field(gt=0, le=100_000)] = 240
    jobs: Annotated[int, Field(ge=1, le=1_000_000)] = 10


class SourceSilent(Rule):
    """A source that is so many days later than its usual rhythm."""

    action: Action = "page"
    days: Annotated[int, Field(ge=0, le=60)] = 2


class Unpriced(Rule):
    """Tokens of a model in a month that nothing has a price for."""

    action: Action = "mail"
    tokens: Whole = 1_000_000


class Unsettled(Rule):
    """Money of a month that has no owner, or that is billed under a name that nobody knows."""

    action: Action = "mail"
    amount: Money = FIFTY


class DailyAnomaly(Rule):
    """A day of a team, a project or a model, away from the last 28 by this score, so many percent and this much money."""

    percent: Share = FIFTY
    amount: Money = FIFTY
    score: Annotated[Exact, Field(gt=0, le=100, max_digits=9, decimal_places=2)] = Decimal(4)


class BudgetRule(Strict):
    """Thresholds of budgets.yaml, each with the action it has there; `note` is none."""

    unwatched: Annotated[list[Name], BeforeValidator(many)] = Field([], alias="except")


def _off(value: Any) -> Any:
    return None if value is False or value == "off" else value


Off = BeforeValidator(_off)


class Channel(Dated):
    """Where alerts go: a URL as Apprise reads them, in an environment variable, for it may hold a password.

    Takes alerts raised on the days from `from` to before `to`, that ask for one of `actions`, of one of `kinds`; without `kinds`, of all.
    """

    id: Id
    url_from: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    actions: Annotated[list[Literal["mail", "chat", "page"]], BeforeValidator(many), Field(min_length=1)]
    kinds: Annotated[list[str], BeforeValidator(many), Field(min_length=1)] | None = None
    to_owner: bool = False  # mail: to the alert's owner, where that is an address, instead of whom the URL names

    @model_validator(mode="after")
    def _known(self) -> Channel:
        for kind in self.kinds or ():
            if kind not in KINDS:
                raise ValueError(f"no kind of alert is called {kind}; use {', '.join(KINDS)}")
        return self


class Alerts(File):
    """Each kind of alert with its limits, or `off`; and where they are sent."""

    hourly_spend: Annotated[HourlySpend | None, Off] = HourlySpend()
    feature_growth: Annotated[FeatureGrowth | None, Off] = FeatureGrowth()
    large_request: Annotated[LargeRequest | None, Off] = LargeRequest()
    call_loop: Annotated[CallLoop | None, Off] = CallLoop()
    failed_calls: Annotated[FailedCalls | None, Off] = FailedCalls()
    cache_drop: Annotated[CacheDrop | None, Off] = CacheDrop()
    gpu_idle: Annotated[GpuIdle | None, Off] = GpuIdle()
    gpu_queue: Annotated[GpuQueue | None, Off] = GpuQueue()
    source_silent: Annotated[SourceSilent | None, Off] = SourceSilent()
    unpriced: Annotated[Unpriced | None, Off] = Unpriced()
    unmapped: Annotated[Unsettled | None, Off] = Unsettled()
    unallocated: Annotated[Unsettled | None, Off] = Unsettled()
    daily_anomaly: Annotated[DailyAnomaly | None, Off] = DailyAnomaly()
    budget: Annotated[BudgetRule | None, Off] = BudgetRule()
    channels: list[Channel] = []

    @property
    def rules(self) -> dict[str, Rule | BudgetRule]:
        """The kinds that are on."""
        return {kind: rule for kind in KINDS if (rule := getattr(self, kind)) is not None}


KINDS = tuple(name for name in Alerts.model_fields if name not in ("version", "channels"))
