"""What each file of `data/policy/` may say. Checks that need more than one file are in `checks.py`."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipelines.policy.calendar import Calendar
from pipelines.sources import CONTEXT
from pipelines.sources.currency import CURRENCIES
from pipelines.yaml_file import Dated, Exact, Name, Strict

ACTIVITIES = (
    "inference", "embedding", "query", "index_maintenance", "training", "gpu_idle", "storage", "platform",
    "commitment_idle", "tax", "credit", "adjustment", "recovery", "other",
)  # fmt: skip
BELONGINGS = (
    "gateway_team", "gateway_project", "api_key", "principal", "inference_profile", "provider_project", "provider_key",
    "slurm_account", "namespace",
)  # fmt: skip
TRACES = ("otel_genai", "langfuse")  # formats whose business context has no names of its own
NO_FIELDS = ("litellm", "litellm_daily")  # formats whose fields stand where they always stand
BODY = re.compile(r"prompt|completion|message|content|input|output|instruction|tool", re.IGNORECASE)  # of a call, in a trace
COUNTED = ("system_prompt_tokens",)  # fields that are counts: of a prompt too, where the attribute's name says that it is one
COUNT = re.compile(r"(tokens?|count)$", re.IGNORECASE)
TOKEN_METERS = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output")
TOKEN_UNITS = {"token": 1, "1K tokens": 1_000, "1M tokens": 1_000_000}
# What the rate card can sell: meter -> the units a rate may be for, and how many of the meter make one.
# `input` is every kind of input without a line of its own, `tokens` every token alike.
SOLD = {
    **dict.fromkeys((*TOKEN_METERS, "input", "tokens"), TOKEN_UNITS),
    "gpu_hours": {"GPU-hour": 1, "equivalent GPU-hour": 1},
    "queries": {"query": 1, "1K queries": 1_000, "1M queries": 1_000_000},
    "read_units": {"1K read units": 1_000, "1M read units": 1_000_000},
    "write_units": {"1K write units": 1_000, "1M write units": 1_000_000},
    "gb_months": {"GB-month": 1},
}
ERPS = ("netsuite", "sap", "oracle", "quickbooks", "workday")
TOKENS_SOLD = (*TOKEN_METERS, "input", "tokens")
SELLS = {  # what a line covers -> the meters it can sell
    "serving_pool": TOKENS_SOLD,
    "model": TOKENS_SOLD,
    "cluster": ("gpu_hours",),
    "vector_index": ("queries", "read_units", "write_units", "gb_months"),
}


def _currency(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError("not an ISO 4217 currency code")
    return code


def many(value: Any) -> Any:
    """One value as a list of it."""
    return value if isinstance(value, list) else [value]


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Folder = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Currency = Annotated[str, AfterValidator(_currency)]
Activity = Literal[ACTIVITIES]
Meter = Literal["input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning"]
Price = Annotated[Exact, Field(ge=0, max_digits=18, decimal_places=12)]
PerMillion = Annotated[Exact, Field(ge=0, lt=1_000_000, max_digits=18, decimal_places=6)]  # a dollar for a token is another unit
Money = Annotated[Exact, Field(gt=0, max_digits=18, decimal_places=6)]
Percent = Annotated[Exact, Field(ge=0, le=100, max_digits=9, decimal_places=6)]
Account = Annotated[str, Field(pattern=r"^[^\W_](?:[\w .,:/()&#-]*[\w.)])?$", max_length=80)]  # nothing that a journal file would have to change
HourRange = Annotated[str, Field(pattern=r"^([01]\d|2[0-3])-([01]\d|2[0-4])$")]
CapacityType = Literal["on_demand", "spot", "reserved", "owned"]
Weight = Annotated[Exact, Field(ge=0, max_digits=12, decimal_places=6)]


class File(Strict):
    version: Literal[1]


# company.yaml --------------------------------------------------------------------------------------------------------


class LegalEntity(Strict):
    id: Id
    name: Name
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None


class CostCenter(Strict):
    id: Id
    name: Name
    legal_entity: Id


class Company(File):
    name: Name
    currency: Currency
    legal_entities: list[LegalEntity] = Field(min_length=1)
    cost_centers: list[CostCenter] = Field(min_length=1)
    calendar: Calendar
    platform_team: Id


# teams.yaml ----------------------------------------------------------------------------------------------------------


class DatedId(Dated):
    """One of several values over time: `{id: CC-4100, to: 2026-10-16}`."""

    id: Id


class DatedMode(Dated):
    mode: Literal["showback", "chargeback"]


def _dated_id(value: Any) -> Any:
    return [{"id": value}] if isinstance(value, str) else value


def _dated_mode(value: Any) -> Any:
    return [{"mode": value}] if isinstance(value, str) else value


DatedIds = Annotated[list[DatedId], BeforeValidator(_dated_id), Field(min_length=1)]


class Condition(Strict):
    """What a call must say of itself; all of it counts."""

    project: Name | None = None
    application: Name | None = None
    environment: Name | None = None
    customer: Name | None = None

    @model_validator(mode="after")
    def _any(self) -> Condition:
        if not self.said:
            raise ValueError(f"name at least one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def said(self) -> frozenset[tuple[str, str]]:
        return frozenset((name, value) for name, value in self if value is not None)


class Belonging(Dated):
    """One thing of a team, by the name that a source uses for it; usage under it may be given a project.

    A key that several teams share belongs to each `when` a call says so; the claim with more conditions goes first.
    A principal may have * and ? as in file names: a role whatever its session. The longest that matches is the owner.
    """

    gateway_team: Name | None = None
    gateway_project: Name | None = None
    api_key: Name | None = None
    principal: Name | None = None
    inference_profile: Name | None = None
    provider_project: Name | None = None
    provider_key: Name | None = None
    slurm_account: Name | None = None
    namespace: Name | None = None
    project: Id | None = None
    when: Condition | None = None

    @model_validator(mode="after")
    def _one(self) -> Belonging:
        if sum(getattr(self, kind) is not None for kind in BELONGINGS) != 1:
            raise ValueError(f"name exactly one of {', '.join(BELONGINGS)}")
        if self.when is not None and self.api_key is None:
            raise ValueError("`when` divides an api_key, and nothing else")
        return self

    @property
    def said(self) -> frozenset[tuple[str, str]]:
        return self.when.said if self.when else frozenset()

    @property
    def key(self) -> tuple[str, str]:
        kind = next(kind for kind in BELONGINGS if getattr(self, kind) is not None)
        return kind, getattr(self, kind)


class Team(Strict):
    id: Id
    name: Name
    owner: Name | None = None
    cost_center: DatedIds
    mode: Annotated[list[DatedMode], BeforeValidator(_dated_mode), Field(min_length=1)]
    belongs: list[Belonging] = []


class Project(Strict):
    id: Id
    team: Id
    application: Name | None = None


class VectorIndex(Strict):
    id: Name
    name: Name | None = None
    team: DatedIds | None = None


class TokenWeights(Dated):
    """What one token of each kind weighs when the cost of our own model servers is shared."""

    input: Weight
    output: Weight
    cache_read: Weight = Decimal(0)


class ServingPool(Strict):
    id: Id
    name: Name | None = None
    models: list[Name] = []
    cluster: Id
    token_weights: Annotated[list[TokenWeights], BeforeValidator(many), Field(min_length=1)]


class Teams(File):
    teams: list[Team] = Field(min_length=1)
    projects: list[Project] = []
    vector_indexes: list[VectorIndex] = []
    serving_pools: list[ServingPool] = []


# sources.yaml --------------------------------------------------------------------------------------------------------


class Source(Strict):
    """`name` is the folder below data/landing/<kind>/; `format` one of the readers."""

    name: Folder
    format: Name


class MappedField(Strict):
    column: Name | None = None
    value: Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)] | None = None
    map: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one(self) -> MappedField:
        if (self.column is None) == (self.value is None) or (self.map is not None and self.column is None):
            raise ValueError("name a column (with an optional map of its words) or a value")
        return self


class Gateway(Source):
    accounts: dict[Name, Name] = {}
    serving: dict[Name, Id] = {}
    file: Literal["csv", "jsonl", "parquet"] | None = None
    fields: dict[Name, Name | MappedField] | None = None
    tokens: Literal["inclusive", "exclusive"] = "inclusive"
    time_zone: Name | None = None
    time_format: Name | None = None

    @model_validator(mode="after")
    def _mapped(self) -> Gateway:
        if self.format == "mapped" and (self.file is None or not self.fields):
            raise ValueError("format mapped needs `file` (csv, jsonl or parquet) and `fields`")
        if self.fields and self.format in NO_FIELDS:
            raise ValueError(f"format {self.format} reads no `fields`")
        if self.format in TRACES:
            self._of_traces(self.fields or {})
        return self

    def _of_traces(self, fields: dict[Name, Name | MappedField]) -> None:
        unknown = next((name for name in fields if name not in CONTEXT), None)
        if unknown:
            raise ValueError(f"{self.format} reads no field {unknown} from elsewhere; it does {', '.join(CONTEXT)}")
        columns = ((name, field if isinstance(field, str) else field.column) for name, field in fields.items())
        body = next((column for name, column in columns if column and BODY.search(column) and not (name in COUNTED and COUNT.search(column))), None)
        if body:
            raise ValueError(f"attribute {body} may hold a prompt or an answer, which are never read")


class LineTexts(Strict):
    """Which lines of a bill: all of the texts match, with * and ? as in file names."""

    service: Name | None = None
    sku_meter: Name | None = None
    resource_id: Name | None = None
    charge_description: Name | None = None
    sub_account_id: Name | None = None


class ActivityRule(LineTexts):
    """Says what the money of matching bill lines was for, and which pot it joins."""

    activity: Activity
    serving_pool: Id | None = None
    cluster: Id | None = None
    gpu_model: Name | None = None
    capacity_type: CapacityType | None = None
    vector_index_id: Name | None = None


class Scope(Strict):
    """Which lines of a shared bill are ours."""

    sub_account_id: Annotated[list[Name], BeforeValidator(many), Field(min_length=1)]


class Billing(Source):
    provider: Id
    billing_account_id: Name | None = None
    legal_entity: Id
    final_after_days: int = Field(5, ge=0, le=90)
    final_when: Literal["days", "invoiced"] = "days"
    record: Dated = Dated()
    shrink_limit: Percent = Decimal(50)
    accept: list[Name] = []
    scope: Scope | None = None
    vector_index_id: Literal["resource_id", "sub_account_id"] | None = None
    activities: list[ActivityRule] = []
    fields: dict[Name, Name | MappedField] | None = None
    time_format: Name | None = None

    @model_validator(mode="after")
    def _mapped(self) -> Billing:
        if (self.format == "mapped_bill") != bool(self.fields):
            raise ValueError("format mapped_bill, and no other, needs `fields`")
        return self


class Usage(Source):
    """What a vendor says was used: compared with what was metered, never charged."""

    provider: Id
    billing_account_id: Name | None = None


class Gpu(Source):
    cluster: Id
    serving_namespaces: dict[Name, Id] = {}
    serving: dict[Name, Id] = {}
    replicas: dict[Name, Annotated[int, Field(ge=1, le=1_000)]] = {}
    file: Literal["csv", "jsonl", "parquet"] | None = None
    fields: dict[Name, Name | MappedField] | None = None
    time_zone: Name | None = None
    time_format: Name | None = None

    @model_validator(mode="after")
    def _mapped(self) -> Gpu:
        if self.format == "mapped_gpu" and (self.file is None or not self.fields):
            raise ValueError("format mapped_gpu needs `file` (csv, jsonl or parquet) and `fields`")
        return self


class ModelName(Dated):
    """What a name in the logs means where no rule can know: a model of the list prices, by default those of its own provider.

    A name means one thing in a whole period, so it changes on the first day of one.
    """

    provider: Name
    logged: Name
    model: Name
    prices_of: Id | None = None


class Sources(File):
    models: list[ModelName] = []
    gateways: list[Gateway] = []
    billing: list[Billing] = []
    usage: list[Usage] = []
    gpu: list[Gpu] = []
    drivers: list[Source] = []
    fx: list[Source] = []
    invoices: list[Source] = []
    outcomes: list[Source] = []


# contracts.yaml, rate_card.yaml, accounts.yaml, close.yaml -----------------------------------------------------------


class Discount(Dated):
    """Off the list price, or a markup on it; without a scope for everything. The narrowest scope that applies wins:

    a meter of a model, a model, a service (a vendor's product, as bills name it), a provider, everything.
    """

    id: Name
    provider: Id | None = None
    service: Name | None = None
    model: Name | None = None
    meter: Meter | None = None
    percent: Percent | None = None
    markup: Annotated[Exact, Field(gt=0, le=900, max_digits=9, decimal_places=6)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Discount:
        if (self.percent is None) == (self.markup is None):
            raise ValueError("name a percent (off the list price) or a markup (percent on top of it)")
        if (self.model or self.service) and not self.provider:
            raise ValueError("a model or a service needs its provider")
        if self.model and self.service:
            raise ValueError("name a model or a service, not both")
        if self.meter and not self.model:
            raise ValueError("a meter needs its model")
        return self

    @property
    def off(self) -> Decimal:
        """Percent off the list price; negative for a markup."""
        return self.percent if self.percent is not None else -(self.markup or 0)


class PrivatePrice(Dated):
    id: Name
    provider: Id
    model: Name
    meter: Meter
    per_million: PerMillion


class Tier(Strict):
    """Up to so many tokens of a month this price holds; the last tier has no end."""

    up_to: int | None = Field(None, gt=0, lt=10**15)
    per_million: PerMillion


class VolumeTiers(Dated):
    """Prices by a month's quantity, instead of the list price.

    graduated: each token has the price of the tier it falls into. flat: the tier that the month reaches prices all of them.
    """

    id: Name
    provider: Id
    model: Name
    meter: Literal["input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output"]
    mode: Literal["graduated", "flat"]
    tiers: list[Tier] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> VolumeTiers:
        ends = [tier.up_to for tier in self.tiers]
        if None in ends[:-1] or ends[-1] is not None or ends[:-1] != sorted(set(ends[:-1]), key=int):
            raise ValueError("tiers rise by up_to, and the last one has none")
        return self


class ContractLines(LineTexts):
    """Which bill lines a contract is about; `since`: from this day on, where it is not the contract's first."""

    since: date | None = None

    @model_validator(mode="after")
    def _any(self) -> ContractLines:
        if all(getattr(self, name) is None for name in LineTexts.model_fields):
            raise ValueError(f"name at least one of {', '.join(LineTexts.model_fields)}")
        return self


class CoveredUse(Strict):
    """The metered use that counts against a contract: its models, with * and ? as in file names."""

    models: Annotated[list[Name], BeforeValidator(many), Field(min_length=1)] = ["*"]


class Contract(Dated):
    """Something agreed with a vendor that its bill shows as lines of their own."""

    kind: ClassVar[str]
    id: Name
    provider: Id
    billing_account_id: Name | None = None
    lines: ContractLines

    @property
    def since(self) -> date | None:
        return self.lines.since or self.start


class Term(Contract):
    """A contract whose bill lines are paid on their date, and whose cost belongs to the days of its term."""

    start: date = Field(alias="from")

    @model_validator(mode="after")
    def _bought_first(self) -> Term:
        if self.since and self.since > self.start:
            raise ValueError("`since` is after `from`: leave it out, later lines are spread over what is left of the term")
        return self

    @property
    def spread(self) -> tuple[date, date]:
        raise NotImplementedError


class Commitment(Term):
    """Bought for a term [from, to). With `covers`, what its use leaves of a day is `commitment_idle`."""

    kind: ClassVar[str] = "commitment"
    end: date = Field(alias="to")
    covers: CoveredUse | None = None

    @property
    def spread(self) -> tuple[date, date]:
        return self.start, self.end


class Prepaid(Term):
    """Credit that use draws down: what is left when it ends is `commitment_idle`.

    `drawn` finds the bill's negative lines that take from it; without it, use that is billed at nothing takes what it costs.
    """

    kind: ClassVar[str] = "prepaid"
    end: date = Field(alias="to")
    drawn: ContractLines | None = None

    @property
    def spread(self) -> tuple[date, date]:
        return self.start, self.end


class TrainingCost(Term):
    """What it cost to train a model: billed once, used up over the months of the model's life."""

    kind: ClassVar[str] = "training"
    life_months: int = Field(ge=1, le=120)

    @model_validator(mode="after")
    def _months(self) -> TrainingCost:
        if self.end:
            raise ValueError("life_months says how long it holds: leave `to` out")
        return self

    @property
    def spread(self) -> tuple[date, date]:
        months = self.start.year * 12 + self.start.month - 1 + self.life_months
        year, month = divmod(months, 12)
        return self.start, self.start.replace(year, month + 1, min(self.start.day, monthrange(year, month + 1)[1]))


class Throughput(Contract):
    """Provisioned units that the bill counts in hours: their tokens are used, the rest of what they can do is `commitment_idle`."""

    kind: ClassVar[str] = "throughput"
    covers: CoveredUse
    tokens_per_unit_hour: int = Field(gt=0, le=10**12)
    output_weight: Weight = Decimal(1)
    cache_read_weight: Weight = Decimal(1)


class Minimum(Contract):
    """An amount that a month costs at least: the shortfall accrues until the bill has a line for it."""

    kind: ClassVar[str] = "minimum"
    amount: Money
    currency: Currency | None = None


class Fee(Contract):
    """A fee by the month, or in percent of the provider's usage: it accrues until the bill has a line for it in that month."""

    kind: ClassVar[str] = "fee"
    amount: Money | None = None
    currency: Currency | None = None
    percent: Percent | None = None

    @model_validator(mode="after")
    def _one(self) -> Fee:
        if (self.amount is None) == (self.percent is None):
            raise ValueError("name an amount a month or a percent of usage")
        if self.percent is not None and self.currency:
            raise ValueError("a percent has no currency of its own: it accrues in that of the usage")
        return self


class GpuCapacity(Dated):
    """Cards that stand in a cluster. `rate` per card and hour makes their cost where no bill covers them.

    `rates_by_hour` names other rates for hours of the day in UTC: "20-06" is from 20:00 until 06:00.
    """

    cluster: Id
    gpu_model: Name
    capacity_type: CapacityType | None = None
    gpus: int = Field(gt=0, le=1_000_000)
    rate: Price | None = None
    rates_by_hour: dict[HourRange, Price] = {}
    provider: Id | None = None
    legal_entity: Id | None = None

    @model_validator(mode="after")
    def _declared(self) -> GpuCapacity:
        if self.rate is not None and (self.provider is None or self.legal_entity is None):
            raise ValueError("a rate needs the provider and the legal_entity that carries the cost")
        if self.rates_by_hour and self.rate is None:
            raise ValueError("rates_by_hour needs a rate for the other hours")
        hours = [hour for span in self.rates_by_hour for hour in _hours(span)]
        if len(hours) > len(set(hours)):
            raise ValueError("two of rates_by_hour name the same hour")
        return self

    @property
    def hourly_rates(self) -> list[Decimal]:
        """The rate of each hour of the day, UTC; nothing without a rate."""
        if self.rate is None:
            return []
        named = {hour: rate for span, rate in self.rates_by_hour.items() for hour in _hours(span)}
        return [named.get(hour, self.rate) for hour in range(24)]


def _hours(span: str) -> list[int]:
    """The hours of "20-06", across midnight where the end is not after the start."""
    start, end = (int(part) for part in span.split("-"))
    return [hour % 24 for hour in range(start, end if end > start else end + 24)]


class Contracts(File):
    discounts: list[Discount] = []
    private_prices: list[PrivatePrice] = []
    volume_tiers: list[VolumeTiers] = []
    commitments: list[Commitment] = []
    prepaid: list[Prepaid] = []
    training_costs: list[TrainingCost] = []
    throughput: list[Throughput] = []
    minimums: list[Minimum] = []
    fees: list[Fee] = []
    gpu_capacity: list[GpuCapacity] = []


    @property
    def terms(self) -> list[Commitment | Prepaid | TrainingCost]:
        return [*self.commitments, *self.prepaid, *self.training_costs]

    @property
    def on_bills(self) -> dict[str, Sequence[Contract]]:
        """Key of the file -> its contracts that bills show as lines of their own."""
        return {
            "commitments": self.commitments, "prepaid": self.prepaid, "training_costs": self.training_costs,
            "throughput": self.throughput, "minimums": self.minimums, "fees": self.fees,
        }  # fmt: skip


class Covers(Strict):
    """What a rate-card line sells the use of: exactly one of these. A provider names a model's, or narrows an index to one vendor's bill."""

    serving_pool: Id | None = None
    cluster: Id | None = None
    vector_index: Name | None = None
    vector_indexes: Literal["all"] | None = None
    provider: Id | None = None
    model: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> Covers:
        index = self.vector_index or self.vector_indexes
        if (self.model is None) != (self.provider is None) and not index:
            raise ValueError("a model is named with its provider: {provider: openai, model: gpt-5}")
        if sum(one is not None for one in (self.serving_pool, self.cluster, self.vector_index, self.vector_indexes, self.model)) != 1:
            raise ValueError("name exactly one of serving_pool, cluster, vector_index, vector_indexes, or provider with model")
        return self

    @property
    def kind(self) -> str:
        """A key of `SELLS`."""
        if self.vector_index or self.vector_indexes:
            return "vector_index"
        return "serving_pool" if self.serving_pool else "cluster" if self.cluster else "model"

    @property
    def what(self) -> str:
        """The thing in words: `llama-pool`, `openai gpt-5`, `all vector indexes on pinecone`."""
        if self.kind == "model":
            return f"{self.provider} {self.model}"
        if self.kind == "vector_index":
            return (self.vector_index or "all vector indexes") + (f" on {self.provider}" if self.provider else "")
        return self.serving_pool or self.cluster or ""


class TeamRate(Dated):
    """What one team pays instead, on these days."""

    team: Id
    rate: Price


class RateLine(Dated):
    id: Name
    service: Name
    covers: Covers
    meter: Literal[tuple(SOLD)]
    unit: Literal[tuple(unit for units in SOLD.values() for unit in units)]
    rate: Price
    teams: list[TeamRate] = []
    note: Name | None = None

    @property
    def per_unit(self) -> int:
        return SOLD[self.meter][self.unit]


class GpuEquivalents(Dated):
    """How many hours of the card that counts as one an hour of each card is."""

    gpus: dict[Name, Annotated[Exact, Field(gt=0, max_digits=12, decimal_places=6)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _base(self) -> GpuEquivalents:
        if 1 not in self.gpus.values():
            raise ValueError("one of the cards counts as 1")
        return self


def _equivalents(value: Any) -> Any:
    return [value if "gpus" in value else {"gpus": value}] if isinstance(value, dict) else value


class RateCard(File):
    id: Id = "rate-card"
    gpu_equivalents: Annotated[list[GpuEquivalents], BeforeValidator(_equivalents)] = []
    lines: list[RateLine] = []


class AccountOverride(Strict):
    """Another expense account of an activity, in an environment, of a legal entity, or both; the narrowest holds."""

    activity: Activity
    environment: Name | None = None
    legal_entity: Id | None = None
    account: Account

    @model_validator(mode="after")
    def _narrower(self) -> AccountOverride:
        if self.environment is None and self.legal_entity is None:
            raise ValueError("name an environment or a legal_entity, or change the account under `expense`")
        return self


class Journal(Strict):
    """An ERP whose import files are written, and what it calls each legal entity; without, its id."""

    erp: Literal[ERPS]
    companies: dict[Id, Account] = {}
    ledgers: dict[Id, Account] = {}


def _journals(value: Any) -> Any:
    return [{"erp": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


class Accounts(File):
    """`due_from` and `due_to`: between legal entities. `accrued`: what vendors have not billed for good yet."""

    expense: dict[Activity, Account] = {}
    overrides: list[AccountOverride] = []
    recovery: Account | None = None
    recovery_cost_centers: dict[Id, Id] = {}
    accrued: Account | None = None
    due_from: Account | None = None
    due_to: Account | None = None
    journals: Annotated[list[Journal], BeforeValidator(_journals)] = []


class Tolerance(Strict):
    unallocated_percent: Percent = Decimal(5)
    unpriced_tokens_percent: Percent = Decimal(1)
    accrued_percent: Percent = Decimal(10)


class Difference(Dated):
    """By how much billed and metered may differ: a percentage or, where that is more, an absolute amount.

    Without `provider` it holds for all that have no entry of their own on the day.
    """

    provider: Id | None = None
    quantity_percent: Percent = Decimal("0.5")
    quantity_tokens: Annotated[Exact, Field(ge=0, max_digits=18, decimal_places=6)] = Decimal(1000)
    cost_percent: Percent = Decimal("0.5")
    cost_amount: Price = Decimal("0.01")
    drift_points: Percent = Decimal(3)
    invoice_amount: Price = Decimal("0.05")
    close_percent: Percent = Decimal(10)


class Materiality(Strict):
    """What late items of a closed month have to reach, per cost center, for statement lines of their own."""

    amount: Price = Decimal(0)
    percent: Percent = Decimal(0)


class Disputes(Strict):
    """How long an issued statement may be disputed, and how long a dispute that nobody decided holds up the close."""

    days: int = Field(10, ge=0, le=366)
    block_close: bool = True


class Close(File):
    true_up_bound: Annotated[Exact, Field(ge=1, le=100, max_digits=9, decimal_places=6)] = Decimal("1.10")
    approvals: Literal["none", "required"] = "none"
    disputes: Disputes = Disputes()
    materiality: Materiality = Materiality()
    tolerance: Tolerance = Tolerance()
    differences: list[Difference] = []
