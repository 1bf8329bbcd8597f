"""What a pipeline must find in the sample company's files, from the truth alone: plain Python, exact decimals.

Every function takes a truth: the whole one, or `as_of(truth, through)`, which knows only what had arrived by the
morning after `through`. Money is USD; `period` is a label such as 2026-09, or None for both months.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from pipelines.sample import bills, company
from pipelines.sample.arrivals import OPENAI_UNTIL, PULLS, Facts, arrival_of, arrivals, bill_deliveries, counters
from pipelines.sample.truth import TOKEN_METERS, BillLine, CardHour, Event, Truth, contracted_cost, list_cost

TOKEN_WEIGHTS = {"input_uncached": Decimal(1), "cache_read": Decimal("0.1"), "output": Decimal(4)}


def as_of(truth: Truth, through: date) -> Truth:
    """The truth as far as it had arrived by the morning after `through`; of two versions of a bill the newer."""
    morning = through + timedelta(days=1)
    return replace(
        truth,
        events=tuple(event for event in truth.events if arrival_of(event) <= morning),
        jobs=tuple(job for job in truth.jobs if any(_ended_in(job.start, job.end, pull, morning) for pull in PULLS)),
        bill_lines=_billed_by(truth, morning),
        last_day=min(truth.last_day, through),
    )


def _ended_in(start: datetime, end: datetime, pull: tuple[date, date, date], morning: date) -> bool:
    """Whether a job that ran from `start` to `end` is complete in this pull, and the pull has arrived."""
    first, after, pulled = pull
    asked = datetime(pulled.year, pulled.month, pulled.day, 0, 30)
    return pulled <= morning and start.date() < after and end.date() >= first and end <= asked


def _billed_by(truth: Truth, morning: date) -> tuple[BillLine, ...]:
    """Lines of the newest delivery of every account-day."""
    days: dict[tuple[str, date], list[BillLine]] = {}
    for delivery in bill_deliveries(truth):
        if delivery.arrives > morning:
            break
        for n in range((delivery.end - delivery.start).days):
            days[delivery.provider, delivery.start + timedelta(days=n)] = []
        for line in delivery.lines:
            days[delivery.provider, line.day].append(line)
    return tuple(line for _, lines in sorted(days.items()) for line in lines)


# --- metered use -------------------------------------------------------------------------------------------------


def _within(truth: Truth, period: str | None) -> Iterable[Event]:
    return (event for event in truth.events if period in (None, event.month))


def api_cost(truth: Truth, period: str | None = None) -> dict[str, Decimal]:
    """Team that pays -> its metered calls to bought models, at contracted prices. Unpriced models are not in it."""
    return _sum_costs(truth, period, contracted_cost)


def api_list_cost(truth: Truth, period: str | None = None) -> dict[str, Decimal]:
    """The same at list price."""
    return _sum_costs(truth, period, list_cost)


def true_ups(truth: Truth, period: str, bound: Decimal) -> dict[str, Decimal]:
    """Team -> its part of what bills have beyond (or below) its metered calls, up to `bound` times the metered cost.

    Shared in proportion to metered cost, separately for every day, model and meter.
    """
    metered: dict[tuple[str, date, str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for event in _within(truth, period):
        if contracted_cost(event) is None:
            continue
        for meter, count in event.meters():
            key = (event.provider, event.day, event.model or "", bills.billed_meter(meter))
            price = company.contracted_price(event.provider, event.model or "", meter, event.day, event.long) or Decimal(0)
            metered[key][event.team] += price * count / company.MILLION
    billed: dict[tuple[str, date, str, str], Decimal] = defaultdict(Decimal)
    for line in truth.bill_lines:
        if line.category == "Usage" and line.model and line.meter and line.in_scope:
            billed[line.provider, line.day, line.model, line.meter] += line.billed_cost
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for key, by_team in metered.items():
        total = sum(by_team.values())
        if key in billed and total:
            for team, cost in by_team.items():
                totals[team] += (min(billed[key], total * bound) - total) * cost / total
    return dict(totals)


def _sum_costs(truth: Truth, period: str | None, cost: Callable[[Event], Decimal | None]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for event in _within(truth, period):
        amount = cost(event)
        if amount:
            totals[event.team] += amount
    return dict(totals)


def tokens(truth: Truth, period: str | None = None) -> dict[tuple[str, str, str, str], int]:
    """(team that pays, provider, model, meter) -> tokens that providers saw."""
    totals: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for event in _within(truth, period):
        for meter, count in event.meters():
            totals[event.team, event.provider, event.model or "", meter] += count
    return dict(totals)


def avoided_tokens(truth: Truth, period: str | None = None) -> tuple[int, int]:
    """Input and output tokens that the gateway's own cache answered."""
    hits = [event for event in _within(truth, period) if event.cached]
    return sum(event.avoided_input for event in hits), sum(event.avoided_output for event in hits)


def unpriced_tokens(truth: Truth, period: str | None = None) -> int:
    """Tokens of bought models that no price list knows."""
    return sum(
        getattr(event, meter)
        for event in _within(truth, period)
        if (event.provider, event.model) in company.BILL_ONLY_PRICES
        for meter in TOKEN_METERS
    )


def weighted_tokens(truth: Truth, period: str | None = None) -> dict[str, Decimal]:
    """Team -> tokens of the self-hosted model, weighted: input 1, cached input 0.1, output and reasoning 4."""
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for event in _within(truth, period):
        if event.provider == "hosted_vllm":
            for meter, count in event.meters():
                totals[event.team] += TOKEN_WEIGHTS[bills.billed_meter(meter)] * count
    return dict(totals)


def index_queries(truth: Truth, period: str | None = None) -> dict[tuple[str, str], int]:
    """(index, searching team) -> searches."""
    return _index_sum(truth, period, "queries")


def index_read_units(truth: Truth, period: str | None = None) -> dict[tuple[str, str], int]:
    """(index, searching team) -> read units."""
    return _index_sum(truth, period, "read_units")


def index_write_units(truth: Truth, period: str | None = None) -> dict[tuple[str, str], int]:
    """(index, team whose documents were written) -> write units."""
    return _index_sum(truth, period, "write_units")


def index_storage(truth: Truth, period: str) -> dict[tuple[str, str | None], Decimal]:
    """(index, its keeper on the day or None) -> what its storage and that of the documents behind it cost."""
    totals: dict[tuple[str, str | None], Decimal] = defaultdict(Decimal)
    for line in truth.bill_lines:
        index = _index_of(line)
        if index and line.month == period and line.meter in ("Storage", "TimedStorage-ByteHrs"):
            totals[index, company.index_keeper(index, line.day)] += line.billed_cost
    return dict(totals)


def index_upkeep(truth: Truth, period: str) -> dict[str, Decimal]:
    """Index -> what its backups and its clean-up cost."""
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for line in truth.bill_lines:
        index = _index_of(line)
        if index and line.month == period and line.meter in ("Backup", "ETL-DPU-Hour"):
            totals[index] += line.billed_cost
    return dict(totals)


def _index_of(line: BillLine) -> str | None:
    if line.provider == "pinecone":
        return line.resource_id
    return "contracts" if line.resource_id in (company.DOCUMENT_BUCKET, company.CLEANUP_JOB) else None


def _index_sum(truth: Truth, period: str | None, unit: str) -> dict[tuple[str, str], int]:
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for event in _within(truth, period):
        count = getattr(event, unit)
        if count:
            totals[event.vector_index_id or "", event.team] += count
    return dict(totals)


# --- bills -------------------------------------------------------------------------------------------------------


def billed(truth: Truth) -> dict[tuple[str, str], Decimal]:
    """(provider, month) -> what is billed to us; lines of other accounts are left out."""
    return _sum_lines((line, line.billed_cost) for line in truth.bill_lines if line.in_scope)


def spread(truth: Truth, period: str) -> dict[str, Fraction]:
    """Text of a bill line -> what the period carries of its cost, a day like any other of its term."""
    totals: dict[str, Fraction] = {}
    for line in truth.bill_lines:
        if line.description in company.TERMS:
            first, after = company.TERMS[line.description]
            days = sum(first <= day < after for day in truth.days() if f"{day:%Y-%m}" == period)
            totals[line.description] = Fraction(line.billed_cost) * days / (after - first).days
    return totals


def deferred(truth: Truth) -> Fraction:
    """What has been billed for days after the last one of the truth."""
    billed_once = sum((line.billed_cost for line in truth.bill_lines if line.description in company.TERMS), Decimal(0))
    return Fraction(billed_once) - sum(sum(spread(truth, month).values()) for month in company.MONTHS)


def out_of_scope(truth: Truth) -> dict[tuple[str, str], Decimal]:
    """(provider, month) -> what a shared bill says about accounts that are not ours."""
    return _sum_lines((line, line.billed_cost) for line in truth.bill_lines if not line.in_scope)


def unmetered(truth: Truth) -> dict[tuple[str, str], Decimal]:
    """(provider, month) -> billed for use that no gateway saw."""
    return _sum_lines((line, line.unmetered) for line in truth.bill_lines if line.unmetered)


def price_change(truth: Truth) -> dict[tuple[str, str, str], Decimal]:
    """(month, model, meter) -> billed beyond our prices since the vendor raised one of them."""
    totals: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for line in truth.bill_lines:
        raised = company.RAISED_PRICES.get((line.provider, line.model or "", line.meter or ""))
        if raised and line.day >= raised[1]:
            agreed = company.contracted_price(line.provider, line.model or "", line.meter or "", line.day, line.long)
            assert agreed is not None and line.quantity is not None
            totals[line.month, line.model or "", line.meter or ""] += line.billed_cost - agreed * line.quantity / company.MILLION
    return dict(totals)


def wrong_unit(truth: Truth) -> tuple[Decimal, Decimal]:
    """Tokens that were used, and what was billed for them, where a bill counts thousands and says tokens."""
    lines = [line for line in truth.bill_lines if (line.day, line.model, line.meter) == company.UNIT_ERROR]
    return sum((line.quantity or Decimal(0) for line in lines), Decimal(0)), sum((line.billed_cost for line in lines), Decimal(0))


def late_bill(truth: Truth) -> dict[tuple[str, date], Decimal]:
    """(provider, day) -> metered cost of days whose bill has not come: at contracted prices, else at those of its bills so far."""
    totals: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for event in truth.events:
        if event.provider == "openai" and event.day >= OPENAI_UNTIL:
            cost = contracted_cost(event)
            if cost is None and event.model:
                prices = company.BILL_ONLY_PRICES[event.provider, event.model]
                cost = sum((Decimal(prices[bills.billed_meter(meter)]) * tokens / company.MILLION for meter, tokens in event.meters()), Decimal(0))
            totals[event.provider, event.day] += cost or 0
    return dict(totals)


def billed_without_price(truth: Truth) -> dict[tuple[str, str], Decimal]:
    """(provider, month) -> billed for models that no price list knows."""
    lines = (line for line in truth.bill_lines if (line.provider, line.model) in company.BILL_ONLY_PRICES)
    return _sum_lines((line, line.billed_cost) for line in lines)


def billed_tokens(truth: Truth) -> dict[tuple[str, str, str, str], Decimal]:
    """(provider, month, model, meter) -> billed to us for tokens; output contains reasoning."""
    totals: dict[tuple[str, str, str, str], Decimal] = defaultdict(Decimal)
    for line in truth.bill_lines:
        if line.model and line.in_scope:
            totals[line.provider, line.month, line.model, line.meter or ""] += line.billed_cost
    return dict(totals)


def _sum_lines(pairs: Iterable[tuple[BillLine, Decimal]]) -> dict[tuple[str, str], Decimal]:
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line, amount in pairs:
        totals[line.provider, line.month] += amount
    return dict(totals)


# --- GPUs --------------------------------------------------------------------------------------------------------


def gpu_seconds(truth: Truth) -> dict[tuple[str, date], int]:
    """(team, UTC day) -> seconds that its batch jobs held cards, failed and cancelled jobs included."""
    totals: dict[tuple[str, date], int] = defaultdict(int)
    for job in truth.jobs:
        for day, seconds in _by_day(job.start, job.end):
            totals[job.team, day] += seconds * job.gpus
    return dict(totals)


def serving_seconds(truth: Truth) -> dict[date, tuple[int, int]]:
    """UTC day -> seconds that the model server held cards, and seconds that its cluster's other cards stood idle."""
    found = {}
    for day in truth.days():
        midnight = datetime(day.year, day.month, day.day)
        held = sum(len(truth.serving.pods_at(midnight + timedelta(hours=n))) for n in range(24)) * 3600
        found[day] = (held, truth.serving.cards * 86_400 - held)
    return found


def notebook_cost(truth: Truth, period: str) -> dict[tuple[str, str], Fraction]:
    """(use, team) -> what the notebooks' cards cost, hour by hour at the hour's rate; the free ones and the rests are nobody's."""
    totals: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    hours: dict[datetime, list[CardHour]] = {
        datetime(day.year, day.month, day.day, clock): [] for day in truth.days() for clock in range(24) if f"{day:%Y-%m}" == period
    }
    for one in truth.notebooks:
        if one.hour in hours:
            hours[one.hour].append(one)
    for hour, held in hours.items():
        rate = Fraction(company.NOTEBOOK_RATES[not 6 <= hour.hour < 20])
        for one in held:
            part = rate * one.slices / one.of
            totals["used", one.team] += part * one.active_seconds / 3600
            totals["idle_reserved", one.team] += part * (3600 - one.active_seconds) / 3600
        for card in {one.card for one in held}:
            totals["idle_stranded", company.UNALLOCATED] += rate * (1 - sum(Fraction(one.slices, one.of) for one in held if one.card == card))
        totals["idle_unallocated", company.UNALLOCATED] += rate * (4 - len({one.card for one in held}))
    return dict(totals)


def unlogged_tokens(truth: Truth) -> dict[date, int]:
    """UTC day -> tokens that the model server counted and no gateway logged."""
    standing = counters(truth)
    logged: dict[date, int] = defaultdict(int)
    for event in truth.events:
        if event.provider == "hosted_vllm":
            logged[event.day] += sum(count for _, count in event.meters())
    gaps = {}
    for day in truth.days():
        (prompt, _, output), (prompt_after, _, output_after) = standing[day], standing[day + timedelta(days=1)]
        gaps[day] = prompt_after - prompt + output_after - output - logged[day]
    return {day: gap for day, gap in gaps.items() if gap}


def _by_day(start: datetime, end: datetime) -> Iterable[tuple[date, int]]:
    while start < end:
        midnight = datetime(start.year, start.month, start.day) + timedelta(days=1)
        stop = min(midnight, end)
        yield start.date(), int((stop - start).total_seconds())
        start = stop


# --- files -------------------------------------------------------------------------------------------------------


def file_facts(truth: Truth) -> dict[str, Facts]:
    """Path of every gateway file, relative to data/landing -> how many lines, duplicates, failures, cache hits."""
    return {str(arrival.path): arrival.facts for arrival in arrivals(truth) if arrival.facts}
