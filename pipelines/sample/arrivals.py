"""When the sample company's files arrive, under which name, and what is in them.

A file never changes once it has arrived: a correction is another file. Paths are relative to data/landing.
"""

from __future__ import annotations

import gzip
import io
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from random import Random

from pipelines.sample import bills, company
from pipelines.sample.truth import BillLine, Event, Truth
from pipelines.sample.writers import (
    anthropic_costs,
    drivers,
    focus,
    gpu_list,
    invoices,
    koku,
    litellm,
    mapped,
    openai_costs,
    outcomes,
    sacct,
    vllm,
)

ONE_DAY = timedelta(days=1)
CENT = Decimal("0.01")
WEEKS = tuple(  # half open; the last one is short
    zip(
        starts := (*(date(2026, 9, 1) + timedelta(days=7 * n) for n in range(8)), date(2026, 10, 27)),
        (*starts[1:], date(2026, 11, 1)),
        strict=True,
    )
)
OPENAI_UNTIL = date(2026, 10, 30)  # the bill of the last two days has not arrived

LATE_DAY, LATE_TEAM, LATE_FROM_HOUR, LATE_ARRIVES = date(2026, 9, 29), "risk", 15, date(2026, 10, 9)
REDELIVERED_DAY = date(2026, 9, 14)  # the same content again, under another name, two days later


@dataclass(frozen=True)
class Facts:
    """What a gateway file holds: physical lines (a header counts), and how many of them repeat an event that arrived before."""

    lines: int
    duplicates: int = 0
    failures: int = 0
    cache_hits: int = 0
    redelivery: bool = False  # the whole file is a second delivery of the same content


@dataclass(frozen=True)
class Arrival:
    """One file: where it lands, on which morning, and how to make its bytes."""

    path: PurePosixPath
    arrives: date
    content: Callable[[], bytes]
    facts: Facts | None = None  # gateways only


@dataclass(frozen=True)
class BillDelivery:
    """What one bill delivery says: it replaces every day of [start, end) of its account."""

    provider: str
    arrives: date
    start: date
    end: date
    lines: tuple[BillLine, ...]
    paths: tuple[str, ...]
    invoice_id: str | None = None


def arrivals(truth: Truth) -> list[Arrival]:
    """Every file, in order of arrival and name."""
    made = [
        *_litellm(truth),
        *_weekly(truth, "bedrock-proxy", "csv", mapped.write_csv),
        *_weekly(truth, "rag-service", "jsonl", mapped.write_jsonl),
        *(arrival for delivery in bill_deliveries(truth) for arrival in _bill(delivery)),
        *_gpu(truth),
        *_drivers(),
        *_invoices(truth),
        *_outcomes(),
    ]
    return sorted(made, key=lambda arrival: (arrival.arrives, str(arrival.path)))


def _drivers() -> Iterable[Arrival]:
    vectors = [(team, n, index) for index, teams in company.INDEX_VECTORS.items() for team, n in teams.items()]
    documents = [(team, n, index) for index, teams in company.INDEX_DOCUMENTS.items() for team, n in teams.items()]
    subscribers = [(team, 1, index) for index, teams in company.INDEX_SUBSCRIBERS.items() for team in teams]
    files = {
        "seats": drivers.write("seats", list(company.SEATS.items())),
        "index_vectors": drivers.write("index_vectors", vectors, ["vector_index_id"]),
        "index_documents": drivers.write("index_documents", documents, ["vector_index_id"]),
        "index_subscribers": drivers.write("index_subscribers", subscribers, ["vector_index_id"]),
    }
    for name, data in files.items():
        yield Arrival(PurePosixPath(f"drivers/finance/{name}.csv"), date(2026, 9, 2), lambda data=data: data)


def _outcomes() -> Iterable[Arrival]:
    for month, arrives in (("2026-09", date(2026, 10, 4)), ("2026-10", date(2026, 11, 1))):
        data = outcomes.write(month, company.OUTCOMES[month])
        yield Arrival(PurePosixPath(f"outcomes/operations/{month}.csv"), arrives, lambda data=data: data)


# The documents of September: (morning, version of the AWS bill, providers on the list).
INVOICE_LISTS = (
    (date(2026, 10, 4), 1, ("openai", "google", "pinecone", "aws")),
    (date(2026, 10, 13), 2, ("aws",)),  # the restated one, in place of the first
    (date(2026, 10, 15), 1, ("anthropic",)),  # late: the month was closed ten days before
)
ODD_CENT = ("openai", Decimal("0.01"))  # rounds its lines one by one


def _invoices(truth: Truth) -> Iterable[Arrival]:
    for arrives, version, providers in INVOICE_LISTS:
        documents = [invoices.Document(provider, *_document(truth, provider, version), arrives - ONE_DAY) for provider in providers]
        name = f"invoices/finance/2026-09-{'-'.join(providers)}{'-restated' if version > 1 else ''}.csv"
        yield Arrival(PurePosixPath(name), arrives, lambda documents=documents: invoices.write("2026-09", documents))


def _document(truth: Truth, provider: str, version: int) -> tuple[Decimal, Decimal]:
    """Total and tax of September's document, in whole cents: the whole bill, with the lines of others on it."""
    lines = tuple(line for line in truth.bill_lines if line.provider == provider and line.month == "2026-09")
    if provider == "aws" and version == 1:
        lines = bills.first_version(lines)
    total = sum((line.billed_cost for line in lines), Decimal(0)).quantize(CENT)
    tax = sum((line.billed_cost for line in lines if line.category == "Tax"), Decimal(0))
    return total + (ODD_CENT[1] if provider == ODD_CENT[0] else 0), tax


# --- gateways ----------------------------------------------------------------------------------------------------


def is_late(event: Event) -> bool:
    """Whether the event was missing from its day's file and arrived after the month had closed."""
    of_the_day = event.source == "litellm-prod" and event.day == LATE_DAY
    return of_the_day and event.team == LATE_TEAM and event.at.hour >= LATE_FROM_HOUR


def arrival_of(event: Event) -> date:
    """The morning on which an event's line first arrives."""
    if is_late(event):
        return LATE_ARRIVES
    if event.source == "litellm-prod":
        return event.day + ONE_DAY
    return next(end for start, end in WEEKS if start <= event.day < end)


def _litellm(truth: Truth) -> Iterable[Arrival]:
    by_day: dict[date, list[Event]] = defaultdict(list)
    for event in truth.of("litellm-prod"):
        by_day[event.day].append(event)
    seen: set[str] = set()
    for day in truth.days():
        events = [event for event in by_day[day] if not is_late(event)]
        name = f"gateway/litellm-prod/{day:%Y-%m}/litellm-{day}.jsonl.gz"
        written = _with_duplicates(truth.seed, day, events, by_day[day - ONE_DAY])
        yield _lines_arrival(name, day + ONE_DAY, written, litellm.write, seen, zipped=True)
        if day == REDELIVERED_DAY:
            again = f"gateway/litellm-prod/{day:%Y-%m}/litellm-{day}-redelivered.jsonl.gz"
            yield _lines_arrival(again, day + 2 * ONE_DAY, written, litellm.write, seen, zipped=True, redelivery=True)
    late = [event for event in by_day[LATE_DAY] if is_late(event)]
    name = f"gateway/litellm-prod/{LATE_DAY:%Y-%m}/litellm-{LATE_DAY}-late.jsonl.gz"
    yield _lines_arrival(name, LATE_ARRIVES, late, litellm.write, seen, zipped=True)


def _with_duplicates(seed: int, day: date, events: list[Event], yesterday: list[Event]) -> list[Event]:
    """The day's lines; on some days a few of them twice, or a few of yesterday's again."""
    rng = Random(f"{seed}/duplicates/{day}")
    written = list(events)
    if day.toordinal() % 5 == 0:
        for event in rng.sample(events, min(2, len(events))):
            written.insert(written.index(event) + 1, event)
    if day.toordinal() % 7 == 0:
        pool = [event for event in yesterday if not is_late(event)]
        written += rng.sample(pool, min(3, len(pool)))
    return written


def _weekly(truth: Truth, source: str, suffix: str, write: Callable[[Iterable[Event]], bytes]) -> Iterable[Arrival]:
    seen: set[str] = set()
    for start, end in WEEKS:
        events = [event for event in truth.of(source) if start <= event.day < end]
        last = end - ONE_DAY
        header = suffix == "csv"
        yield _lines_arrival(
            f"gateway/{source}/{source}-{start}_{last}.{suffix}", end, events, write, seen, header=header
        )


def _lines_arrival(
    name: str, arrives: date, events: list[Event], write: Callable[[Iterable[Event]], bytes], seen: set[str], *,
    header: bool = False, zipped: bool = False, redelivery: bool = False,
) -> Arrival:  # fmt: skip
    new = {event.event_id for event in events} - seen
    facts = Facts(
        lines=len(events) + header,
        duplicates=len(events) - len(new),
        failures=sum(event.status == "failure" for event in events),
        cache_hits=sum(event.cached for event in events),
        redelivery=redelivery,
    )
    seen |= new
    content = (lambda: zip_bytes(write(events))) if zipped else (lambda: write(events))
    return Arrival(PurePosixPath(name), arrives, content, facts)


def zip_bytes(data: bytes) -> bytes:
    """gzip without a name or a time: equal data, equal bytes."""
    target = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=5, fileobj=target, mtime=0) as out:
        out.write(data)
    return target.getvalue()


# --- bills -------------------------------------------------------------------------------------------------------


def bill_deliveries(truth: Truth) -> list[BillDelivery]:
    """Every delivery of every bill, in order of arrival."""
    made = [
        *_weekly_bills(truth, "openai", OPENAI_UNTIL, ("page-1.json", "page-2.json")),
        *_weekly_bills(truth, "anthropic", date(2026, 11, 1), ("cost_report.json",)),
    ]
    for provider, calendar in SNAPSHOTS.items():
        made += [_snapshot(truth, provider, *entry) for entry in calendar]
    return sorted(made, key=lambda delivery: (delivery.arrives, delivery.provider))


def _weekly_bills(truth: Truth, provider: str, until: date, names: tuple[str, ...]) -> Iterable[BillDelivery]:
    lines = [line for line in truth.bill_lines if line.provider == provider]
    for start, week_end in WEEKS:
        end = min(week_end, until)
        inside = tuple(line for line in lines if start <= line.day < end)
        folder = f"billing/{provider}/{start}_{end - ONE_DAY}"
        yield BillDelivery(provider, end, start, end, inside, tuple(f"{folder}/{name}" for name in names))


# Monthly snapshots: (month, morning of arrival, version). A snapshot knows the lines that ended by its arrival.
SNAPSHOTS: dict[str, tuple[tuple[str, date, int], ...]] = {
    "aws": (
        ("2026-09", date(2026, 9, 16), 1),
        ("2026-09", date(2026, 10, 3), 1),
        ("2026-10", date(2026, 10, 6), 1),
        ("2026-09", date(2026, 10, 12), 2),  # September restated, after its close
        ("2026-10", date(2026, 10, 20), 1),
        ("2026-10", date(2026, 11, 1), 1),
    ),
    "google": (
        ("2026-09", date(2026, 9, 16), 1),
        ("2026-09", date(2026, 10, 2), 1),
        ("2026-10", date(2026, 10, 6), 1),
        ("2026-10", date(2026, 11, 1), 1),
    ),
    "pinecone": (
        ("2026-09", date(2026, 10, 4), 1),
        ("2026-10", date(2026, 10, 6), 1),
        ("2026-10", date(2026, 11, 1), 1),
    ),
}
FOCUS_FILES: dict[str, tuple[focus.Version, focus.Encoding]] = {
    "aws": ("1.2", "csv"),
    "google": ("1.0", "csv"),
    "pinecone": ("1.4", "parquet"),
}


def _snapshot(truth: Truth, provider: str, month: str, arrives: date, version: int) -> BillDelivery:
    start, end = (moment.date() for moment in bills.month_bounds(month))
    known = datetime(arrives.year, arrives.month, arrives.day)
    lines = tuple(li for li in truth.bill_lines if li.provider == provider and li.month == month and li.end <= known)
    if version == 1:
        lines = bills.first_version(lines)
    final = end <= arrives
    name = (
        f"billing/{provider}/{month}/focus-{arrives}{f'-v{version}' if version > 1 else ''}.{FOCUS_FILES[provider][1]}"
    )
    invoice = f"INV-{provider.upper()}-{month}" if final else None
    return BillDelivery(provider, arrives, start, end, lines, (name,), invoice)


def _bill(delivery: BillDelivery) -> Iterable[Arrival]:
    for number, path in enumerate(delivery.paths):
        yield Arrival(PurePosixPath(path), delivery.arrives, _bill_content(delivery, number))


def _bill_content(delivery: BillDelivery, number: int) -> Callable[[], bytes]:
    provider, lines, start, end = delivery.provider, delivery.lines, delivery.start, delivery.end
    if provider == "openai":
        return lambda: openai_costs.write_pages(lines, start, end, len(delivery.paths))[number]
    if provider == "anthropic":
        return lambda: anthropic_costs.write_page(lines, start, end)
    return lambda: focus.write(lines, *FOCUS_FILES[provider], invoice_id=delivery.invoice_id)


# --- GPUs --------------------------------------------------------------------------------------------------------

PULLS = (  # (first day, first day after, morning of the pull): overlapping on purpose, a later pull knows more
    (date(2026, 9, 1), date(2026, 10, 1), date(2026, 10, 2)),
    (date(2026, 10, 1), date(2026, 10, 6), date(2026, 10, 6)),
    (date(2026, 10, 1), date(2026, 11, 1), date(2026, 11, 1)),
)


def _gpu(truth: Truth) -> Iterable[Arrival]:
    for start, end in WEEKS:
        name = f"gpu/serving-cluster/{start}_{end - ONE_DAY}-ocp_gpu_usage.csv"
        yield Arrival(PurePosixPath(name), end, _koku_content(truth, start, end))
        notebooks = f"gpu/notebooks/cards-{start}_{end - ONE_DAY}.csv"
        yield Arrival(PurePosixPath(notebooks), end, _notebook_content(truth, start, end))
        if start < company.COUNTERS_UNTIL:
            counters = f"gpu/vllm/counters-{start}_{end}.json"
            yield Arrival(PurePosixPath(counters), end, _counter_content(truth, start, end))
    for start, end, pulled in PULLS:
        name = f"gpu/slurm/sacct-{start}_{end - ONE_DAY}.log"
        yield Arrival(PurePosixPath(name), pulled, _sacct_content(truth, start, end, pulled))


def _koku_content(truth: Truth, start: date, end: date) -> Callable[[], bytes]:
    return lambda: koku.write(truth.serving, _midnight(start), _midnight(end))


def _notebook_content(truth: Truth, start: date, end: date) -> Callable[[], bytes]:
    return lambda: gpu_list.write(one for one in truth.notebooks if _midnight(start) <= one.hour < _midnight(end))


def _counter_content(truth: Truth, start: date, end: date) -> Callable[[], bytes]:
    return lambda: vllm.write(company.SERVED_MODEL, counters(truth), start, end)


def counters(truth: Truth) -> dict[date, tuple[int, int, int]]:
    """What the model server's counters stood at when each day began: prompt, cached and generated tokens."""
    served: dict[date, list[int]] = {day: [0, 0, 0] for day in truth.days()}
    for event in truth.events:
        if event.provider == "hosted_vllm":
            meters = dict(event.meters())
            cached, output = meters.get("cache_read", 0), meters.get("output", 0) + meters.get("reasoning", 0)
            for n, tokens in enumerate((meters.get("input_uncached", 0) + cached, cached, output)):
                served[event.day][n] += tokens
    totals, standing = {truth.first_day: (0, 0, 0)}, [0, 0, 0]
    for day, tokens in served.items():
        standing = [n + t + t * company.CALLED_DIRECTLY.get(day, 0) // 100 for n, t in zip(standing, tokens, strict=True)]
        totals[day + ONE_DAY] = (standing[0], standing[1], standing[2])
    return totals


def _sacct_content(truth: Truth, start: date, end: date, pulled: date) -> Callable[[], bytes]:
    asked = _midnight(pulled) + timedelta(minutes=30)
    return lambda: sacct.write(truth.jobs, _midnight(start), _midnight(end), asked)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)
