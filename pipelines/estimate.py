"""What a new project would cost in a month: low, base and high, at the rate card, else at contracted and list prices.

A project file says how much it would use; every number may be a range:

    version: 1
    name: Support copilot
    team: support                     # its own rates, where it has some
    months: 12
    growth_percent: {low: 0, base: 5, high: 10}
    spread_percent: 25                # low and high of what is given without any range
    models:
      - model: gpt-5                  # a model, a service of the rate card, or a serving pool
        users: {low: 200, base: 300, high: 500}
        interactions: 8               # per user and day
        days: 21                      # per month
        input_tokens: 2500            # per interaction
        cached_percent: 40            # of the input
        output_tokens: 400
    gpus: [{cluster: batch, gpu_model: A100, hours: 500}]
    indexes: [{vector_index: catalog, queries: 200000, gb: 50}]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from pipelines import blended, models, policy, prices, warehouse
from pipelines.allocation.words import METERS
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.policy import Policy
from pipelines.policy.checks import span
from pipelines.policy.files import RateLine
from pipelines.yaml_file import Exact, Name, Strict, read

SIDES = ("low", "base", "high")
MILLION = 1_000_000
CENT = Decimal("0.01")
EXACT = Context(prec=60)
NEAR = 4  # names shown for one that is not known
Sides = tuple[Decimal, Decimal, Decimal]

# What a project uses --------------------------------------------------------------------------------------------------

Amount = Annotated[Exact, Field(ge=0, max_digits=18, decimal_places=6)]


class Range(Strict):
    """From the least to the most that is expected."""

    low: Amount
    base: Amount
    high: Amount

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low <= self.base <= self.high:
            raise ValueError("low, base and high are in this order")
        return self

    @property
    def is_one(self) -> bool:
        return self.low == self.high

    @property
    def sides(self) -> Sides:
        return self.low, self.base, self.high


class PercentRange(Range):
    high: Annotated[Exact, Field(ge=0, le=100)]


def _ranged(value: Any) -> Any:
    """One number is a range without width; "100..300" has its middle as base, "100..150..300" says it."""
    if not isinstance(value, str) or ".." not in value:
        return value if isinstance(value, dict) else {side: value for side in SIDES}
    parts = value.split("..")
    if len(parts) == 2:
        try:
            low, high = (Decimal(part) for part in parts)
        except ArithmeticError:
            raise ValueError("write a range as LOW..HIGH or LOW..BASE..HIGH") from None
        parts = [parts[0], str((low + high) / 2), parts[1]]
    if len(parts) != 3:
        raise ValueError("write a range as LOW..HIGH or LOW..BASE..HIGH")
    return dict(zip(SIDES, parts, strict=True))


Much = Annotated[Range, BeforeValidator(_ranged)]
Share = Annotated[PercentRange, BeforeValidator(_ranged)]
NONE = Range(low=0, base=0, high=0)
ONE = Range(low=1, base=1, high=1)


class ModelUse(Strict):
    model: Name
    provider: Name | None = None
    users: Much = ONE
    interactions: Much
    days: Much = Range(low=30, base=30, high=30)
    input_tokens: Much = NONE
    cached_percent: Share = PercentRange(low=0, base=0, high=0)
    output_tokens: Much = NONE

    @property
    def calls(self) -> list[Range]:
        return [self.users, self.interactions, self.days]


class GpuUse(Strict):
    cluster: Name  # or a service of the rate card
    gpu_model: Name | None = None
    hours: Much


class IndexUse(Strict):
    vector_index: Name | None = None
    queries: Much = NONE
    gb: Much = NONE


class Project(Strict):
    version: Literal[1] = 1
    name: Name = "A new project"
    team: Name | None = None
    months: int = Field(1, ge=1, le=120)
    growth_percent: Share = PercentRange(low=0, base=0, high=0)
    spread_percent: Annotated[Exact, Field(ge=0, le=100)] = Decimal(25)
    models: list[ModelUse] = []
    gpus: list[GpuUse] = []
    indexes: list[IndexUse] = []

    @model_validator(mode="after")
    def _something(self) -> Project:
        if not (self.models or self.gpus or self.indexes):
            raise ValueError("name at least one model, GPU cluster or vector index")
        return self


OPTIONS = {"hours": "--gpu-hours", "gb": "--storage-gb", "vector_index": "--index"}  # where the command line says it more fully


def project_of(options: dict[str, Any]) -> Project:
    """A project from command-line options; refused like a file."""
    try:
        return Project.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        names = [part for part in first["loc"] if isinstance(part, str) and part not in SIDES]
        option = OPTIONS.get(names[-1], f"--{names[-1].replace('_', '-')}") if names else "options"
        said = " is missing" if first["type"] == "missing" else f": {first['msg'].removeprefix('Value error, ')}"
        raise Refused(f"{option}{said}", "apportion estimate", "see apportion estimate --help") from None


# What it costs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Price:
    """Money for `per` of a unit, and where it comes from."""

    rate: Decimal
    per: int
    unit: str
    currency: str
    source: str


@dataclass(frozen=True)
class Sold:
    """A model as its seller and contracts call it, and as the list that prices it does."""

    provider: str
    model: str
    list_provider: str
    list_model: str


@dataclass(frozen=True)
class Line:
    """One kind of use of the first month: quantities and amounts as low, base, high; amounts in whole cents."""

    what: str
    meter: str
    quantity: Sides
    prices: tuple[Price, Price, Price]
    spread: bool

    def amounts(self, growth: Sides, month: int) -> Sides:
        """Of the month, counted from 0."""
        return tuple(
            (quantity * (1 + percent / 100) ** month * price.rate / price.per).quantize(CENT, ROUND_HALF_UP)
            for quantity, price, percent in zip(self.quantity, self.prices, growth, strict=True)
        )  # type: ignore[return-value]


def estimate(home: Home, project: Path | Project, day: date) -> dict[str, Any]:
    """Lines of the first month, totals of each month, and the total, per currency, at the prices of `day`.

    Refused: a project file that is not one, a team, model, cluster or index that nobody knows, use that has no price.
    """
    plan = project if isinstance(project, Project) else read(project, Project)[1]
    with localcontext(EXACT), _Prices.open(home, day, plan.team) as known:
        lines = [line for use in plan.models for line in _model(known, plan, use)]
        lines += [_gpus(known, plan, use) for use in plan.gpus]
        lines += [line for use in plan.indexes for line in _index(known, plan, use)]
        growth = plan.growth_percent.sides
        months = [_sums(lines, growth, month) for month in range(plan.months)]
        totals = {currency: _added(month[currency] for month in months) for currency in months[0]}
        return {
            "name": plan.name, "team": plan.team, "prices_as_of": day, "months": plan.months, "growth_percent": _named(growth),
            "spread_percent": plan.spread_percent if any(line.spread for line in lines) else None,
            "lines": [_told(line, growth) for line in lines],
            "by_month": [
                {"month": number, "currency": currency, **_named(sums)}
                for number, month in enumerate(months, start=1)
                for currency, sums in month.items()
            ],
            "total": [{"currency": currency, **_named(sums)} for currency, sums in totals.items()],
        }  # fmt: skip


def _model(known: _Prices, plan: Project, use: ModelUse) -> Iterator[Line]:
    """Uncached input, cached input and output. The more is cached, the less it costs: low takes the greatest share."""
    calls = _product(use.calls)
    shares: Sides = (use.cached_percent.high, use.cached_percent.base, use.cached_percent.low)
    fresh = tuple(n * tokens * (100 - share) / 100 for n, tokens, share in zip(calls, use.input_tokens.sides, shares, strict=True))
    cached = tuple(n * tokens * share / 100 for n, tokens, share in zip(calls, use.input_tokens.sides, shares, strict=True))
    out = tuple(n * tokens for n, tokens in zip(calls, use.output_tokens.sides, strict=True))
    one = all(given.is_one for given in (*use.calls, use.input_tokens, use.cached_percent, use.output_tokens))
    what, price = known.model(use)
    for meter, quantity in (("input_uncached", fresh), ("cache_read", cached), ("output", out)):
        if any(quantity):
            found = tuple(price(meter, size) for size in use.input_tokens.sides)
            yield _line(plan, what, METERS[meter], quantity, found, one)


def _gpus(known: _Prices, plan: Project, use: GpuUse) -> Line:
    price, times = known.gpu_hour(use)
    hours = tuple(hours * times for hours in use.hours.sides)
    return _line(plan, use.cluster, METERS["gpu_hours"], hours, (price,) * 3, use.hours.is_one)


def _index(known: _Prices, plan: Project, use: IndexUse) -> Iterator[Line]:
    known.index(use.vector_index)
    for meter, much in (("queries", use.queries), ("gb_months", use.gb)):
        if much.high:
            yield _line(
                plan,
                use.vector_index or "vector indexes",
                METERS[meter],
                much.sides,
                (known.of_index(use.vector_index, meter),) * 3,
                much.is_one,
            )


def _line(plan: Project, what: str, meter: str, quantity: Iterable[Decimal], found: Iterable[Price], one: bool) -> Line:
    """Use that was given without any range spreads to both sides."""
    low, base, high = quantity
    if one:
        low, high = base * (100 - plan.spread_percent) / 100, base * (100 + plan.spread_percent) / 100
    return Line(what, meter, (low, base, high), tuple(found), one and plan.spread_percent > 0)  # type: ignore[arg-type]


def _product(ranges: list[Range]) -> Sides:
    found = [Decimal(1)] * 3
    for one in ranges:
        found = [a * b for a, b in zip(found, one.sides, strict=True)]
    return found[0], found[1], found[2]


def _sums(lines: list[Line], growth: Sides, month: int) -> dict[str, Sides]:
    currencies = dict.fromkeys(line.prices[1].currency for line in lines)
    return {
        currency: _added(line.amounts(growth, month) for line in lines if line.prices[1].currency == currency) for currency in currencies
    }


def _added(amounts: Iterable[Sides]) -> Sides:
    low, base, high = (sum(side, Decimal(0)) for side in zip(*amounts, strict=True))
    return low, base, high


def _named(sides: Sides) -> dict[str, Decimal]:
    return dict(zip(SIDES, sides, strict=True))


def _told(line: Line, growth: Sides) -> dict[str, Any]:
    price = line.prices[1]
    rates = [p.rate for p in line.prices]
    return {
        "what": line.what, "meter": line.meter, "quantity": {side: _plain(q) for side, q in zip(SIDES, line.quantity, strict=True)},
        "rate": _plain(price.rate) if len(set(rates)) == 1 else {side: _plain(rate) for side, rate in zip(SIDES, rates, strict=True)},
        "unit": price.unit, "price": price.source, "currency": price.currency, "amount": _named(line.amounts(growth, 0)),
    }  # fmt: skip


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# Prices ---------------------------------------------------------------------------------------------------------------


class _Prices:
    """What each thing costs on one day for one team: the rate card first, then what we pay ourselves."""

    def __init__(
        self,
        home: Home,
        rules: Policy,
        day: date,
        team: str | None,
        con: duckdb.DuckDBPyConnection,
        published: duckdb.DuckDBPyConnection | None,
    ) -> None:
        self.home, self.rules, self.day, self.team, self.con, self.published = home, rules, day, team, con, published
        self.card = [line for line in rules.rate_card.lines if _holds(line, day)]
        self.month = blended.last_month(published) if published else None
        teams = [one.id for one in rules.teams.teams]
        if team is not None and team not in teams:
            raise _unknown("team", team, teams)

    @classmethod
    @contextmanager
    def open(cls, home: Home, day: date, team: str | None) -> Iterator[_Prices]:
        with ExitStack() as stack:
            con = stack.enter_context(warehouse.memory())
            published = stack.enter_context(duckdb.connect(str(home.current), read_only=True)) if home.current.is_file() else None
            yield cls(home, policy.load(home.policy), day, team, con, published)

    # models

    def model(self, use: ModelUse) -> tuple[str, Callable[[str, Decimal], Price]]:
        """What the model is called, and its price of a kind of token for a call with so many tokens of input."""
        pools = {
            pool.id for pool in self.rules.teams.serving_pools if use.provider is None and use.model in (pool.id, pool.name, *pool.models)
        }
        lines = [line for line in self.card if line.covers.kind in ("serving_pool", "model") and self._is(line, use, pools)]
        if lines:
            things = sorted({line.covers.what for line in lines})
            if len(things) > 1:
                raise Refused(
                    f"{use.model} is sold as {' and as '.join(things)}", "apportion estimate", "name one of them, or the provider"
                )
            return lines[0].service, lambda meter, _size: self._sold(lines, meter)
        if pools:
            return use.model, lambda meter, _size: self._own(sorted(pools)[0], meter)
        return self._bought(use)

    def _is(self, line: RateLine, use: ModelUse, pools: set[str]) -> bool:
        if line.covers.kind == "model" and use.model == line.covers.model:
            return use.provider in (None, line.covers.provider)
        return use.provider is None and (use.model == line.service or line.covers.serving_pool in pools)

    def _sold(self, lines: list[RateLine], meter: str) -> Price:
        """By the line that names the kind of token, else by that for all input, else by that for all tokens."""
        order = (meter, "tokens") if meter == "output" else (meter, "input", "tokens")
        line = next((line for name in order for line in lines if line.meter == name), None)
        if line is None:
            return Price(
                Decimal(0),
                MILLION,
                "1M tokens",
                self.rules.company.currency,
                f"rate card {self.rules.rate_card.id}: has no rate for it, so it is not charged",
            )
        return self._at(line)

    def _at(self, line: RateLine) -> Price:
        own = next((one for one in line.teams if one.team == self.team and _holds(one, self.day)), None)
        source = f"rate card {self.rules.rate_card.id}, line {line.id}{f', rate of {self.team}' if own else ''}"
        return Price(own.rate if own else line.rate, line.per_unit, line.unit, self.rules.company.currency, source)

    def _own(self, pool: str, meter: str) -> Price:
        found = blended.tokens(self.published, self.month[0]).get((pool, meter)) if self.published and self.month else None
        if found is None:
            raise Refused(f"{METERS[meter]} of {pool} has no rate and no cost yet", "apportion estimate", "add a line to rate_card.yaml")
        return Price(
            found.full, MILLION, "1M tokens", self.rules.company.currency, f"cost of {self.month[0]}, idle GPUs included: no rate covers it"
        )

    def _bought(self, use: ModelUse) -> tuple[str, Callable[[str, Decimal], Price]]:
        """At the contracted price of the day, else at the list price; both as the night would rate it."""
        known = prices.load(self.home.list_prices)
        ours = [source.provider for source in self.rules.sources.billing]
        sellers = [use.provider] if use.provider else list(dict.fromkeys((*ours, *sorted(known.rules))))
        found = [(seller, meant) for seller in sellers if (meant := known.resolve(seller, use.model))[2]]
        exact = [one for one in found if one[1][1] == prices.canonical(one[0])] or found
        if not exact:
            names = {line.service for line in self.card} | {
                name for pool in self.rules.teams.serving_pools for name in (pool.id, *pool.models)
            }
            names |= {model for lister, model in known.priced if use.provider is None or lister == prices.canonical(use.provider)}
            raise _unknown("model", f"{use.provider} {use.model}" if use.provider else use.model, names, use.model)
        mine = [one for one in exact if one[0] in ours] or exact
        if len(mine) > 1:
            raise Refused(
                f"{use.model} is sold by {', '.join(seller for seller, _ in mine[:NEAR])}", "apportion estimate", "say which provider"
            )
        seller, (name, lister, model, _) = mine[0]
        sold = Sold(prices.canonical(seller), str(name), str(lister), str(model))
        self._rate(sold)
        return f"{seller} {use.model}", lambda meter, size: self._rated(sold, meter, size)

    def _rate(self, sold: Sold) -> None:
        """Temp table `rates` of one model, by the SQL that rates the night's usage.

        The published bills say which services sold the model; what a past bill charged for a unit is no price to plan with.
        """
        self.con.execute("create or replace temp table bill_lines(usage_period varchar, provider varchar, model varchar, service varchar)")
        self.con.execute(
            "create or replace temp table bill_prices(usage_period varchar, provider varchar, model varchar, service_tier varchar,"
            " meter varchar, unit_price decimal(24, 18))"
        )
        if self.published:
            services = "select distinct provider, model, service from bill_lines where provider = ? and model = ?"
            for row in self.published.execute(services, [sold.provider, sold.model]).fetchall():
                self.con.execute("insert into bill_lines values ('estimate', ?, ?, ?)", row)
        policy.register(self.con, self.rules)
        prices.register(self.con, self.home.list_prices)
        self.con.execute(
            "create or replace temp table model_names as"
            " select 'estimate' as usage_period, $provider as price_provider, $model as price_model, $list_provider as list_provider, $list_model as list_model",
            asdict(sold),
        )
        sql = next(one for one in models.stage("rate") if one.name == "rates")
        models.make(self.con, sql, {"period": "estimate"})

    def _rated(self, sold: Sold, meter: str, size: Decimal) -> Price:
        """Where the hour of the day decides the price, the dearest."""
        self._rate(sold)
        found = self.con.execute(
            f"""
            select contracted_{meter}, rate_source, contract_id, recorded_at from rates
            where provider = $provider and model = $model and service_tier = 'standard' and region = '' and $day >= valid_from and $day < valid_to
                and $size > input_gt and $size <= input_le
            order by contracted_{meter} desc nulls last
            limit 1
            """,
            {"provider": sold.provider, "model": sold.model, "day": self.day, "size": max(1, int(size))},
        ).fetchall()
        if not found or found[0][0] is None:
            raise Refused(
                f"{METERS[meter]} of {sold.provider} {sold.model} has no price on {self.day}",
                "apportion estimate",
                "add it to contracts.yaml or rate_card.yaml",
            )
        price, source, contract, recorded = found[0]
        said = f"contract {contract}" if source == "contract" else f"list price of {sold.list_provider}, snapshot of {recorded}"
        return Price(price * MILLION, MILLION, "1M tokens", "USD", f"{said}: no rate covers it")

    # GPUs and indexes

    def gpu_hour(self, use: GpuUse) -> tuple[Price, Decimal]:
        """The price of an hour, and how many hours it sells an hour of this card for."""
        lines = [line for line in self.card if line.covers.kind == "cluster"]
        line = next((line for line in lines if use.cluster in (line.covers.cluster, line.service)), None)
        cluster = line.covers.cluster if line else use.cluster
        standing = [cards for cards in self.rules.contracts.gpu_capacity if cards.cluster == cluster and _holds(cards, self.day)]
        if line and line.unit == "equivalent GPU-hour":
            return self._at(line), self._equivalent(use, sorted({cards.gpu_model for cards in standing}))
        if line:
            return self._at(line), Decimal(1)
        clusters = {cards.cluster for cards in self.rules.contracts.gpu_capacity} | {source.cluster for source in self.rules.sources.gpu}
        if use.cluster not in clusters:
            raise _unknown("cluster", use.cluster, clusters | {line.service for line in lines})
        declared = [cards for cards in standing if cards.rate is not None and use.gpu_model in (None, cards.gpu_model)]
        if len({tuple(cards.hourly_rates) for cards in declared}) == 1:
            rate = sum(declared[0].hourly_rates, Decimal(0)) / 24
            return Price(
                rate, 1, "GPU-hour", self.rules.company.currency, "declared rate of contracts.yaml, without idle hours: no rate covers it"
            ), Decimal(1)
        found = blended.gpu_hours(self.published, self.month[0]).get(cluster) if self.published and self.month else None
        if found is None or declared:
            raise Refused(
                f"no one rate for GPUs of {use.cluster}", "apportion estimate", "name its gpu_model, or add a line to rate_card.yaml"
            )
        return Price(
            found.full, 1, "GPU-hour", self.rules.company.currency, f"cost of {self.month[0]}, idle GPUs included: no rate covers it"
        ), Decimal(1)

    def _equivalent(self, use: GpuUse, standing: list[str]) -> Decimal:
        counts = {
            gpu: much for entry in self.rules.rate_card.gpu_equivalents if _holds(entry, self.day) for gpu, much in entry.gpus.items()
        }
        gpu_model = use.gpu_model or (standing[0] if len(standing) == 1 else None)
        if gpu_model is None:
            raise Refused(
                f"{use.cluster} has cards of several models",
                "apportion estimate",
                f"name a gpu_model: {', '.join(standing) or 'none is declared'}",
            )
        if gpu_model not in counts:
            raise _unknown("GPU", gpu_model, counts)
        return counts[gpu_model]

    def index(self, name: str | None) -> None:
        indexes = [one.id for one in self.rules.teams.vector_indexes]
        if name is not None and name not in indexes:
            raise _unknown("vector index", name, indexes)

    def of_index(self, name: str | None, meter: str) -> Price:
        for line in self.card:
            if line.meter == meter and (line.covers.vector_indexes == "all" or name == line.covers.vector_index):
                return self._at(line)
        per_unit = blended.searches if meter == "queries" else blended.storage
        found = per_unit(self.published, self.month[0], name) if self.published and self.month else None
        if found is None:
            raise Refused(
                f"{METERS[meter]} of {name or 'vector indexes'} has no rate and no cost yet",
                "apportion estimate",
                "add a line to rate_card.yaml",
            )
        cost, currency = found
        per, unit = (1_000, "1K queries") if meter == "queries" else (1, "GB-month")
        return Price(cost.full, per, unit, currency, f"cost of {self.month[0]}: no rate covers it")


def _holds(dated: Any, day: date) -> bool:
    first, last = span(dated)
    return first <= day < last


def _unknown(kind: str, said: str, names: Iterable[str], like: str | None = None) -> Refused:
    known = sorted(names)
    near = get_close_matches(like or said, known, NEAR, 0.4)
    return Refused(
        f"unknown {kind} {said}",
        "apportion estimate",
        f"near: {', '.join(near)}" if near else f"known: {', '.join(known[:NEAR]) or 'none'}",
    )


# The table ------------------------------------------------------------------------------------------------------------


def text(found: dict[str, Any]) -> str:
    """The first month line by line with its price, then the months and the total."""
    head = f"{'':<44}{'low':>16}{'base':>16}{'high':>16}"
    of = f" for {found['team']}" if found["team"] else ""
    out = [f"{found['name']}{of}: cost in a month, at the prices of {found['prices_as_of']}", "", head]
    for line in found["lines"]:
        out.append(f"{line['what'] + ': ' + line['meter']:<44.44}{_cells(line['amount'])} {line['currency']}")
        rate = line["rate"] if isinstance(line["rate"], str) else " to ".join(dict.fromkeys(line["rate"].values()))
        out.append(f"    {rate} per {line['unit']}; {line['price']}")
    for first in (one for one in found["by_month"] if one["month"] == 1):
        out.append(f"{'a month':<44}{_cells(first)} {first['currency']}")
    if found["months"] > 1:
        out.append("")
        out += [f"{'month ' + str(one['month']):<44}{_cells(one)} {one['currency']}" for one in found["by_month"]]
        out += [f"{str(found['months']) + ' months':<44}{_cells(one)} {one['currency']}" for one in found["total"]]
    if found["spread_percent"] is not None:
        spread = _plain(found["spread_percent"])
        out += [
            "",
            f"What was given without a range is taken as {spread}% less to {spread}% more.",
        ]
    return "\n".join(out)


def _cells(amounts: dict[str, Any]) -> str:
    return "".join(f"{amounts[side]:>16,.2f}" for side in SIDES)
