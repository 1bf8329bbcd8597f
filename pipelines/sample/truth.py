"""The seeded truth of the sample company: who used what, when, at which price.

`Truth.make(seed, scale)` gives the same events, jobs and bills for the same arguments, on every machine: it uses
`random.Random` and exact decimals, and nothing else. The writers turn it into the formats vendors deliver; expected.py
says what a pipeline must find again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from pipelines.sample import company
from pipelines.sample.company import FIRST_DAY, LAST_DAY, LONG_CONTEXT, MILLION

TOKEN_METERS = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a gateway log, with disjoint meters: what the provider really saw."""

    event_id: str
    source: str  # litellm-prod, bedrock-proxy, rag-service
    at: datetime  # UTC, whole milliseconds
    gateway_team: str | None  # as the gateway names the caller
    caller: str  # our team behind it
    team: str  # who pays
    project: str | None
    application: str | None
    environment: str | None
    provider: str
    model: str | None
    operation: str  # chat, embedding, vector_query, index_write
    api_key: str | None = None
    triggered_by: str | None = None  # our team whose documents caused it
    vector_index_id: str | None = None
    customer_id: str | None = None
    user_tier: str | None = None
    request_type: str | None = None
    trace_id: str | None = None
    session_id: str | None = None
    attempt: int = 1
    status: str = "success"
    cached: bool = False  # answered by the gateway's own cache: meters 0, tokens avoided
    routing_reason: str | None = None
    quality_score: str | None = None
    latency_ms: int = 0
    region: str | None = None
    input_uncached: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0  # without reasoning
    reasoning: int = 0
    avoided_input: int = 0
    avoided_output: int = 0
    queries: int = 0
    read_units: int = 0
    write_units: int = 0

    @property
    def day(self) -> date:
        return self.at.date()

    @property
    def month(self) -> str:
        return f"{self.at:%Y-%m}"

    @property
    def input_total(self) -> int:
        return self.input_uncached + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning

    @property
    def long(self) -> bool:
        """Whether the request pays a long-context price (only some models have one)."""
        return self.input_total > LONG_CONTEXT and (self.provider, self.model) in company.LONG_PRICES

    def meters(self) -> list[tuple[str, int]]:
        return [(meter, getattr(self, meter)) for meter in TOKEN_METERS if getattr(self, meter)]


def list_cost(event: Event) -> Decimal | None:
    """USD at list price, exact; None where no list price is known (self-hosted and unpriced models)."""
    return _cost(event, lambda meter: company.list_price(event.provider, event.model or "", meter, event.long))


def contracted_cost(event: Event) -> Decimal | None:
    """USD at the price we agreed, exact; None where the price is not known."""
    day, model = event.day, event.model or ""
    return _cost(event, lambda meter: company.contracted_price(event.provider, model, meter, day, event.long))


def _cost(event: Event, price: Callable[[str], Decimal | None]) -> Decimal | None:
    if (event.provider, event.model) not in company.LIST_PRICES:
        return None
    return sum(((price(meter) or 0) * tokens for meter, tokens in event.meters()), Decimal(0)) / MILLION


@dataclass(frozen=True, slots=True)
class GpuJob:
    """One batch job on the A100 cluster; times are UTC and half open."""

    job_id: str  # array jobs: 7001_3
    raw_id: int
    account: str
    team: str
    name: str
    gpus: int
    nodes: tuple[str, ...]
    submit: datetime
    start: datetime
    end: datetime
    state: str
    exit_code: str
    typed: bool  # the scheduler wrote gres/gpu:a100=n beside, or instead of, gres/gpu=n

    @property
    def seconds(self) -> int:
        return int((self.end - self.start).total_seconds())


@dataclass(frozen=True, slots=True)
class BillLine:
    """One cost line as the vendor means it. Money in USD, exact; tokens whole."""

    provider: str
    billing_account_id: str
    sub_account_id: str | None
    category: str  # Usage, Purchase, Tax, Credit
    frequency: str  # Usage-Based, Recurring, One-Time
    description: str
    service: str
    sku_id: str | None
    meter: str | None  # input_uncached ... output (reasoning included), or the vendor's own word
    model: str | None  # as we name it
    resource_id: str | None
    region: str | None
    start: datetime
    end: datetime
    quantity: Decimal | None
    unit: str | None
    per: int  # so many units are priced at once
    list_price: Decimal | None  # USD per `per` units
    contracted_price: Decimal | None
    list_cost: Decimal
    contracted_cost: Decimal
    billed_cost: Decimal  # effective cost is the same: no commitments are amortized
    long: bool = False
    unmetered: Decimal = Decimal(0)  # part of billed_cost whose use no gateway saw
    first_quantity: Decimal | None = None  # what a first version of the bill said instead
    first_absent: bool = False  # the first version of the bill did not have this line

    @property
    def day(self) -> date:
        return self.start.date()

    @property
    def month(self) -> str:
        return f"{self.start:%Y-%m}"

    @property
    def in_scope(self) -> bool:
        return self.sub_account_id != company.FOREIGN_SUB_ACCOUNT

    @property
    def currency(self) -> str:
        return "USD"


@dataclass(frozen=True)
class Serving:
    """The model server's cards: which pods hold which cards, at every hour but those of one night."""

    node: str
    gpu_model: str
    pods: tuple[tuple[str, str, str], ...]  # (namespace, pod, card)
    cards: int

    def pods_at(self, hour: datetime) -> tuple[tuple[str, str, str], ...]:
        start, end = company.IDLE_NIGHT
        return () if start <= hour < end else self.pods


@dataclass(frozen=True, slots=True)
class CardHour:
    """One hour of a notebook on a card, or on some of the slices it is cut into."""

    hour: datetime
    node: str
    card: str
    gpu_model: str
    slices: int
    of: int
    namespace: str
    team: str
    pod: str
    active_seconds: int


@dataclass(frozen=True)
class Truth:
    """Everything that happened. Events and jobs in order of time; bill lines in order of provider, day, line."""

    seed: int
    scale: float
    events: tuple[Event, ...]
    jobs: tuple[GpuJob, ...]
    serving: Serving
    notebooks: tuple[CardHour, ...]
    bill_lines: tuple[BillLine, ...]
    first_day: date = FIRST_DAY
    last_day: date = LAST_DAY

    @staticmethod
    def make(seed: int = 20260901, scale: float = 1.0) -> Truth:
        """The company at `scale` (number of events; 1.0 is about 30,000 log lines in two months)."""
        return _make(seed, scale)

    def of(self, source: str) -> list[Event]:
        return [event for event in self.events if event.source == source]

    def days(self) -> list[date]:
        return [self.first_day + timedelta(days=n) for n in range((self.last_day - self.first_day).days + 1)]


@lru_cache(maxsize=4)
def _make(seed: int, scale: float) -> Truth:
    from pipelines.sample import bills, traffic

    events = traffic.events(seed, scale)
    return Truth(
        seed=seed,
        scale=scale,
        events=events,
        jobs=traffic.jobs(seed),
        serving=traffic.serving(),
        notebooks=traffic.notebooks(seed),
        bill_lines=bills.lines(events),
    )
