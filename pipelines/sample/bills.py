"""What the vendors bill for the truth: use priced per day, model and meter, fees, taxes, and what bypassed a gateway."""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from pipelines.sample import company
from pipelines.sample.company import BILLING_ACCOUNTS, FOREIGN_SUB_ACCOUNT, MONTHS, OUR_SUB_ACCOUNT
from pipelines.sample.truth import BillLine, Event

Key = tuple[str, date, str | None, str, str, bool]  # provider, day, scope, model, meter, long

TOKEN_SERVICES = {
    "openai": "OpenAI API",
    "anthropic": "Claude API",
    "google": "Vertex AI",
    "aws": "Amazon Bedrock",
}
BYPASS_DAYS = (date(2026, 9, 10), date(2026, 10, 8))  # Anthropic, workspace of the docs team: 2 % more than was metered
BYPASS_MODEL = "claude-sonnet-4-5"
EXCESS_DAY = date(2026, 9, 17)  # OpenAI gpt-5, project of the assistant team: 35 % more than was metered
EXCESS_MODEL = "gpt-5"

NODE_HOUR = Decimal("31.464")  # the serving node, list price of an hour, before the AWS discount
NODE = "i-serving-1"
LATE_NODE_DAY = date(2026, 9, 12)  # the first September bill knows 20 of its 24 hours
LATE_MODEL_DAY = (date(2026, 9, 28), "amazon.nova-lite-v1:0", "cache_read")  # ... and not this line at all
SUPPORT_FEE = Decimal(1200)
TAXES = {"2026-09": Decimal("214.37"), "2026-10": Decimal("231.05")}
CREDITS = {"2026-09": Decimal(-400), "2026-10": Decimal(-350)}

LICENCE, LICENCE_DAY = Decimal(540), date(2026, 9, 15)  # of the gateway, for ninety days
TRAINING, TRAINING_DAY = Decimal(362), date(2026, 9, 22)  # of a model that the docs team uses for half a year

READ_UNIT, WRITE_UNIT = Decimal(16), Decimal(4)  # USD per million
GIGABYTE_HOUR = Decimal("0.00045")
BACKUP_GIGABYTE_HOUR = Decimal("0.000139")
PLAN_MINIMUM = Decimal(1600)  # a month
BUCKET_GIGABYTES, BUCKET_PRICE = Decimal(60), Decimal("0.023")  # a day's part of the month; per gigabyte and month
CLEANUP_HOURS, CLEANUP_PRICE = Decimal(12), Decimal("0.44")  # of one processing unit


def scope(provider: str, team: str) -> str | None:
    """The vendor project whose key the gateway uses for `team`; None is Anthropic's default workspace."""
    if provider == "openai":
        return company.OPENAI_PROJECTS.get(team, company.OPENAI_SHARED_PROJECT)
    if provider == "anthropic":
        return company.ANTHROPIC_WORKSPACES.get(team)
    return OUR_SUB_ACCOUNT if provider == "aws" else "lark-ai-prod"


def billed_meter(meter: str) -> str:
    """Vendors bill reasoning as output."""
    return "output" if meter == "reasoning" else meter


def metered_tokens(events: Iterable[Event]) -> dict[Key, int]:
    """Tokens by the key of a bill line, as the gateways saw them; self-hosted models are nobody's bill."""
    tokens: dict[Key, int] = defaultdict(int)
    for event in events:
        if event.provider in TOKEN_SERVICES and event.model:
            owner, long = scope(event.provider, event.caller), event.long
            for meter, count in event.meters():
                tokens[event.provider, event.day, owner, event.model, billed_meter(meter), long] += count
    return tokens


def bypassing_tokens(metered: dict[Key, int]) -> dict[Key, int]:
    """Tokens that no gateway saw, by the key of the bill line that charges them."""
    extra: dict[Key, int] = defaultdict(int)
    for (provider, day, _, model, meter, long), tokens in metered.items():
        if provider == "anthropic" and model == BYPASS_MODEL and day in BYPASS_DAYS and not long:
            extra[provider, day, "wrkspc_docs", model, meter, long] += tokens
        if provider == "openai" and model == EXCESS_MODEL and day == EXCESS_DAY:
            extra[provider, day, "proj_assistant", model, meter, long] += tokens
    percent = {"anthropic": 2, "openai": 35}
    return {key: tokens * percent[key[0]] // 100 for key, tokens in extra.items() if tokens * percent[key[0]] >= 100}


def lines(events: Iterable[Event], fees: bool = True) -> tuple[BillLine, ...]:
    """Every bill line that `events` cause; `fees` adds node hours, storage, fees, taxes, credits and foreign lines."""
    events = tuple(events)
    made = [*_token_lines(metered_tokens(events)), *_index_lines(events)]
    if fees:
        made += [*_node_lines(), *_monthly_lines(), *_term_lines(), *_foreign_lines(), *_storage_lines(), *_document_lines()]
        made += _shortfall_lines(made)
    order = list(BILLING_ACCOUNTS)
    return tuple(
        sorted(
            made,
            key=lambda line: (
                order.index(line.provider), line.start, line.end, line.category, line.service, line.sub_account_id or "",
                line.model or "", line.long, line.resource_id or "", line.meter or "", line.description,
            ),
        )
    )  # fmt: skip


def first_version(truth_lines: Iterable[BillLine]) -> tuple[BillLine, ...]:
    """What the vendor billed before it corrected itself."""
    kept = []
    for line in truth_lines:
        if line.first_absent:
            continue
        kept.append(line if line.first_quantity is None else _with_quantity(line, line.first_quantity))
    return tuple(kept)


def _with_quantity(line: BillLine, quantity: Decimal) -> BillLine:
    assert line.list_price is not None and line.contracted_price is not None
    contracted = line.contracted_price * quantity / line.per
    return replace(
        line,
        quantity=quantity,
        list_cost=line.list_price * quantity / line.per,
        contracted_cost=contracted,
        billed_cost=contracted,
    )


# --- tokens ------------------------------------------------------------------------------------------------------


def _token_lines(metered: dict[Key, int]) -> Iterator[BillLine]:
    extra = bypassing_tokens(metered)
    for key in {**metered, **extra}:
        unseen = extra.get(key, 0)
        yield token_line(key, metered.get(key, 0) + unseen, unseen)


def token_line(key: Key, tokens: int, unseen: int = 0) -> BillLine:
    """One day of one meter of one model in one vendor project, at the price we agreed."""
    provider, day, owner, model, meter, long = key
    price = company.billed_price(provider, model, meter, day, long)
    listed = company.list_price(provider, model, meter, long)
    list_price = price if listed is None else listed
    per = 1000 if provider == "aws" else 1_000_000
    cost = price * tokens / company.MILLION
    start = _midnight(day)
    return BillLine(
        provider=provider,
        billing_account_id=BILLING_ACCOUNTS[provider],
        sub_account_id=owner,
        category="Usage",
        frequency="Usage-Based",
        description=f"{model} {meter}",
        service=TOKEN_SERVICES[provider],
        sku_id=f"{model}/{meter}{'/long' if long else ''}",
        meter=meter,
        model=model,
        resource_id=None,
        region="us-east-1" if provider == "aws" else "global" if provider == "google" else None,
        start=start,
        end=start + timedelta(days=1),
        quantity=Decimal(tokens),
        unit="Tokens",
        per=per,
        list_price=list_price * per / company.MILLION,
        contracted_price=price * per / company.MILLION,
        list_cost=list_price * tokens / company.MILLION,
        contracted_cost=cost,
        billed_cost=cost,
        long=long,
        unmetered=price * unseen / company.MILLION,
        first_absent=(day, model, meter) == LATE_MODEL_DAY,
    )


# --- everything else ---------------------------------------------------------------------------------------------


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """First moment of the month and of the next one, UTC."""
    year, number = int(month[:4]), int(month[5:])
    start = datetime(year, number, 1)
    return start, start + timedelta(days=monthrange(year, number)[1])


def _days_of(month: str) -> Iterator[datetime]:
    start, end = month_bounds(month)
    for n in range((end - start).days):
        yield start + timedelta(days=n)


def _line(
    provider: str, service: str, meter: str | None, start: datetime, end: datetime, *, sub: str | None,
    category: str = "Usage", frequency: str = "Usage-Based", description: str = "", resource: str | None = None,
    quantity: Decimal | None = None, unit: str | None = None, per: int = 1, price: Decimal | None = None,
    contracted: Decimal | None = None, cost: Decimal | None = None, first_quantity: Decimal | None = None,
) -> BillLine:  # fmt: skip
    """A line that is not tokens: priced (`quantity`, `price`, perhaps `contracted`) or a plain amount (`cost`)."""
    contracted = price if contracted is None else contracted
    if price is not None and contracted is not None and quantity is not None:
        list_cost, billed = price * quantity / per, contracted * quantity / per
    else:
        assert cost is not None
        list_cost = billed = cost
    return BillLine(
        provider=provider,
        billing_account_id=BILLING_ACCOUNTS[provider],
        sub_account_id=sub,
        category=category,
        frequency=frequency,
        description=description or f"{service} {meter or category}",
        service=service,
        sku_id=None if price is None else f"{service}/{meter}".replace(" ", "-"),
        meter=meter,
        model=None,
        resource_id=resource,
        region="us-east-1" if provider in ("aws", "pinecone") else None,
        start=start,
        end=end,
        quantity=quantity,
        unit=unit,
        per=per,
        list_price=price,
        contracted_price=contracted,
        list_cost=list_cost,
        contracted_cost=billed,
        billed_cost=billed,
        first_quantity=first_quantity,
    )


def _node_lines() -> Iterator[BillLine]:
    discount = company.DISCOUNTS["aws"]
    for month in MONTHS:
        for day in _days_of(month):
            yield _line(
                "aws", "Amazon Elastic Compute Cloud", "p5.48xlarge Hours", day, day + timedelta(days=1),
                sub=OUR_SUB_ACCOUNT, description="p5.48xlarge instance hours", resource=NODE, quantity=Decimal(24),
                unit="Hours", price=NODE_HOUR, contracted=NODE_HOUR * discount,
                first_quantity=Decimal(20) if day.date() == LATE_NODE_DAY else None,
            )  # fmt: skip


def _monthly_lines() -> Iterator[BillLine]:
    for month in MONTHS:
        start, end = month_bounds(month)
        yield _line(
            "aws", "AWS Support (Business)", None, start, end, sub=OUR_SUB_ACCOUNT, category="Purchase",
            frequency="Recurring", description="AWS Support monthly fee", cost=SUPPORT_FEE,
        )  # fmt: skip
        yield _line(
            "aws", "AWS Marketplace Tax", None, start, end, sub=OUR_SUB_ACCOUNT, category="Tax", frequency="One-Time",
            description="Sales tax", cost=TAXES[month],
        )  # fmt: skip
        yield _line(
            "aws", "Amazon Bedrock", None, start, end, sub=OUR_SUB_ACCOUNT, category="Credit", frequency="One-Time",
            description="Migration credit", cost=CREDITS[month],
        )  # fmt: skip


def _term_lines() -> Iterator[BillLine]:
    """What is billed on one day and used up over many."""
    bought, trained = _midnight(LICENCE_DAY), _midnight(TRAINING_DAY)
    yield _line(
        "aws", "AWS Marketplace", None, bought, bought + timedelta(days=1), sub=OUR_SUB_ACCOUNT, category="Purchase",
        frequency="One-Time", description="Gateway licence, 90 days", cost=LICENCE,
    )  # fmt: skip
    yield _line(
        "aws", "Amazon Bedrock", "Customization-Training", trained, trained + timedelta(days=1), sub=OUR_SUB_ACCOUNT,
        description="Training of docs-extractor", resource="docs-extractor", cost=TRAINING,
    )  # fmt: skip


def _foreign_lines() -> Iterator[BillLine]:
    """The payer's other account: not ours, and counted all the same."""
    for month in MONTHS:
        for day in _days_of(month):
            tomorrow = day + timedelta(days=1)
            yield _line(
                "aws", "Amazon Simple Storage Service", "TimedStorage-ByteHrs", day, tomorrow,
                sub=FOREIGN_SUB_ACCOUNT, resource="warehouse-archive", quantity=Decimal("1834.5"), unit="GB",
                price=Decimal("0.023"),
            )  # fmt: skip
            tokens = token_line(
                ("aws", day.date(), FOREIGN_SUB_ACCOUNT, "amazon.nova-pro-v1:0", "input_uncached", False), 250_000
            )
            yield tokens


def _index_lines(events: Iterable[Event]) -> Iterator[BillLine]:
    reads: dict[tuple[date, str], int] = defaultdict(int)
    writes: dict[tuple[date, str], int] = defaultdict(int)
    for event in events:
        if event.provider == "pinecone" and event.vector_index_id:
            reads[event.day, event.vector_index_id] += event.read_units
            writes[event.day, event.vector_index_id] += event.write_units
    for units, meter, price in ((reads, "Read Units", READ_UNIT), (writes, "Write Units", WRITE_UNIT)):
        for (day, index), count in units.items():
            if count:
                start = _midnight(day)
                yield _line(
                    "pinecone", "Pinecone Database", meter, start, start + timedelta(days=1), sub="larkfield-prod",
                    description=f"{meter} of {index}", resource=index, quantity=Decimal(count), unit=meter,
                    per=1_000_000, price=price,
                )  # fmt: skip


def _storage_lines() -> Iterator[BillLine]:
    for month in MONTHS:
        for day in _days_of(month):
            for index, gigabytes in company.INDEX_GIGABYTES.items():
                for meter, price in (("Storage", GIGABYTE_HOUR), ("Backup", BACKUP_GIGABYTE_HOUR)):
                    yield _line(
                        "pinecone", "Pinecone Database", meter, day, day + timedelta(days=1), sub="larkfield-prod",
                        description=f"{meter} of {index}", resource=index, quantity=Decimal(gigabytes * 24),
                        unit="GB-Hours", price=price,
                    )  # fmt: skip


def _document_lines() -> Iterator[BillLine]:
    """What the cloud bills behind the contracts' index: the documents themselves, and the job that cleans up."""
    for month in MONTHS:
        for day in _days_of(month):
            tomorrow = day + timedelta(days=1)
            yield _line(
                "aws", "Amazon Simple Storage Service", "TimedStorage-ByteHrs", day, tomorrow, sub=OUR_SUB_ACCOUNT,
                description="Contract documents", resource=company.DOCUMENT_BUCKET, quantity=BUCKET_GIGABYTES, unit="GB-Mo",
                price=BUCKET_PRICE,
            )  # fmt: skip
            if day.weekday() == 6:
                yield _line(
                    "aws", "AWS Glue", "ETL-DPU-Hour", day, tomorrow, sub=OUR_SUB_ACCOUNT, description="Clean-up of contracts",
                    resource=company.CLEANUP_JOB, quantity=CLEANUP_HOURS, unit="DPU-Hours", price=CLEANUP_PRICE,
                )  # fmt: skip


def _shortfall_lines(made: list[BillLine]) -> list[BillLine]:
    """What the month's use leaves of the plan's minimum."""
    shortfalls = []
    for month in MONTHS:
        start, end = month_bounds(month)
        used = sum((li.billed_cost for li in made if li.provider == "pinecone" and li.month == month), Decimal(0))
        if used < PLAN_MINIMUM:
            shortfall = _line(
                "pinecone", "Pinecone Database", "Plan Minimum", start, end, sub="larkfield-prod",
                category="Purchase", frequency="Recurring", description="Plan minimum shortfall",
                cost=PLAN_MINIMUM - used,
            )  # fmt: skip
            shortfalls.append(shortfall)
    return shortfalls
