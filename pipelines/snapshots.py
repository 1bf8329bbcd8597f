"""Snapshots of public list prices: made from the genai-prices that is installed and a supplement, compared, applied.

What a snapshot makes of its source, beyond flattening it:

- A tier's price holds for every token of the request, so each row covers `input_gt < input tokens <= input_le`.
- A service tier (batch, flex, priority, fast) covers all the days of its model: before its own start it costs the standard
  price. A start that the supplement names as a day of recording is the day on which the source learned the price, not the
  day the vendor set it: the price holds from the day the standard price of then began.
  Variants by route or by kind of search are left out.
- A price by time of day holds for minutes of the UTC day, `minute_from <= minute < minute_to`; any other for all of them.
- A meter without a price of its own takes that of its nearest priced ancestor: cache reads and audio that of input,
  writes for an hour that of writes, reasoning that of output. A price of zero is a price.
- Output of a model whose images cost another price per token than its text has no price: logs do not tell the two apart.
- A page of a document that is read counts as an image. Requests have a price where the vendor asks a fee for each.
- Audio by the hour, characters, web searches and video have no meter here. A model sold by nothing else has no row, and
  neither has a model without any price, unless its name or notes say `free`: unknown is not zero.
- Prices finer than a millionth of a dollar per million tokens are rounded to it, half to even, and counted.

`supplement.yaml` adds what the source lacks, each entry with the page that says it and the day it was read: prices, and
uplifts of a region, which become rows of their own beside those of everywhere else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from fnmatch import fnmatchcase
from importlib.metadata import distribution
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipelines import normalize, policy, rate
from pipelines.books import Books
from pipelines.errors import Refused
from pipelines.home import Home, asset
from pipelines.prices import (
    APPLIED,
    DAY_MINUTES,
    FIRST_DAY,
    LAST_DAY,
    METERS,
    NO_LIMIT,
    RATES,
    RULES,
    Rule,
    Rules,
    Snapshot,
    applications,
    condition,
    snapshots,
)
from pipelines.publish import require_manifest
from pipelines.run import Run, Say, closed_days, open_run
from pipelines.warehouse import only_run, replace_durably, sync, write_text
from pipelines.whatif import copied
from pipelines.yaml_file import Dated, Exact, Name, Strict, read

SUPPLEMENT = "supplement.yaml"
PLACES = Decimal("0.000000000001")
MILLION, THOUSAND = Decimal(1_000_000), Decimal(1_000)

# Meter -> the price keys of genai-prices that may price it, nearest first; and for how many of it they are.
TOKEN_KEYS = {
    "input_uncached": ("input_mtok",),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    "output": ("output_mtok",),
    "reasoning": ("output_reasoning_mtok", "output_mtok"),
    "audio_input": ("input_audio_mtok", "input_mtok"),
    "audio_output": ("output_audio_mtok", "output_mtok"),
}
UNIT_KEYS = {"images": ("input_document_kpages",), "requests": ("requests_kcount",)}
USED_KEYS = {key for keys in (*TOKEN_KEYS.values(), *UNIT_KEYS.values()) for key in keys}
# The requests that get another price -> the service tier as gateways log it. `default` is the standard price.
TIERS = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
    ("service_tier", "default"): "standard",
}


# --- the supplement ------------------------------------------------------------------------------------------------


class Cited(Dated):
    """Something a public page says: `source` is the page, `seen` the day it was read."""

    provider: Name
    source: Annotated[str, Field(pattern=r"^https://\S+$")]
    seen: date


class ListedPrice(Cited):
    """The price of `per` units of one meter of these models, in US dollars."""

    models: Annotated[list[Name], Field(min_length=1)]
    meter: Literal[METERS]
    price: Annotated[Exact, Field(ge=0, max_digits=18, decimal_places=12)]
    per: Literal[1, 1_000, 1_000_000] = 1


class Uplift(Cited):
    """What a call in one of these regions costs, as times the price of these models elsewhere; *, ? and [] as in file names."""

    models: Annotated[list[Name], Field(min_length=1)]
    regions: Annotated[list[Name], Field(min_length=1)]
    times: Annotated[Exact, Field(gt=0, le=10, max_digits=8, decimal_places=6)]


class Recording(Strict):
    """Days on which the source learned prices of service tiers that were charged before; `because` says how we know."""

    days: Annotated[list[date], Field(min_length=1)]
    because: Name
    source: Annotated[str, Field(pattern=r"^https://\S+$")]
    seen: date


class Supplement(Strict):
    version: Literal[1]
    recordings: list[Recording] = []
    prices: list[ListedPrice] = []
    uplifts: list[Uplift] = []


def supplement(list_prices_dir: Path) -> Supplement:
    """The home's supplement, or the shipped one where it has none."""
    path = list_prices_dir / SUPPLEMENT
    return read(path if path.is_file() else asset("data", "list_prices", SUPPLEMENT), Supplement)[1]


# --- make ----------------------------------------------------------------------------------------------------------


def refresh(home: Home, day: date) -> Path:
    """Adds the snapshot of `day`, or returns the newest where nothing is new; what is rated keeps its prices until `apply`."""
    with only_run(home):
        return export(home.list_prices, day)


def export(list_prices_dir: Path, day: date) -> Path:
    """Writes the snapshot of `day` from the installed genai-prices; refused where that day has one already.

    Where prices and names are those of the newest snapshot nothing is written, and that one is returned.
    """
    try:
        from genai_prices.data import providers
    except ImportError:
        raise Refused("genai-prices is not installed", "prices refresh", "pip install 'apportion[list-prices]'") from None
    added = supplement(list_prices_dir)
    folder = list_prices_dir / day.isoformat()
    if folder.exists():
        raise Refused("this day has a snapshot already", str(folder), "a snapshot is never changed; the next day may have another")
    source = distribution("genai-prices")
    version = f"genai-prices {source.version}"
    left_out: Counter[str] = Counter()
    learned = frozenset(day for entry in added.recordings for day in entry.days)
    rates = [
        rate | {"source": version}
        for provider in providers
        for model in provider.models
        for rate in _rates(provider.id, model, learned, left_out)
    ]
    rules = [
        {"provider": provider.id, "ord": place, "model": model.id, "term": term, "op": op, "pattern": pattern}
        for provider in providers
        for place, model in enumerate(provider.models)
        for term, conditions in enumerate(_terms(model.match))
        for op, pattern in conditions
    ]
    rates, rules = _supplemented(rates, rules, added, left_out)
    facts = {
        "source": "genai-prices",
        "url": "https://github.com/pydantic/genai-prices",
        "license": "MIT",
        "version": source.version,
        "date": day.isoformat(),
        "currency": "USD",
        "unit": "one token, image, search unit or request",
        "counts": {
            "providers": len(providers),
            "models": sum(len(provider.models) for provider in providers),
            "priced_models": len({(rate["provider"], rate["model"]) for rate in rates}),
            "rates": len(rates),
            "match_rules": len(rules),
            "supplement": len(added.prices) + len(added.uplifts),
        },
        "left_out": dict(sorted(left_out.items())),
        "stand_ins": {p.id: list(p.fallback_model_providers) for p in providers if p.fallback_model_providers},
    }
    part = list_prices_dir / f".{day.isoformat()}.new"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rates, RATES), part / "rates.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(rules, RULES), part / "match_rules.parquet", compression="zstd")
    (part / "snapshot.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (part / "LICENSE").write_text(source.read_text("licenses/LICENSE") or "MIT\n", encoding="utf-8")
    before = max(list_prices_dir.glob("[0-9]*-[0-9]*-[0-9]*"), default=None)
    if before and all(_same(part / name, before / name) for name in ("rates.parquet", "match_rules.parquet")):
        shutil.rmtree(part)
        return before
    for path in part.iterdir():
        sync(path)
    sync(part)
    return replace_durably(part, folder)


def _same(one: Path, other: Path) -> bool:
    """Whether two tables say the same, wherever they say it is from."""
    kept = [name for name in (RATES.names if one.name == "rates.parquet" else RULES.names) if name != "source"]
    tables = [pq.read_table(path) for path in (one, other) if path.is_file()]
    return len(tables) == 2 and set(kept) <= set(tables[1].column_names) and tables[0].select(kept).equals(tables[1].select(kept))


def _rates(provider: str, model: Any, learned: frozenset[date], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """The model's rows: each service tier that has its own price, on each span of days, at each hour, for each size of input."""
    variants: dict[str, list[Any]] = {"standard": []}
    for variant in model.price_variants or ():
        tier = TIERS.get(next(iter(variant.when.items()))) if len(variant.when) == 1 else None
        if tier is None:
            left_out["variants by route or kind of search"] += 1
        elif tier != "standard":
            variants.setdefault(tier, []).append(variant)
        elif _all_prices(variant.prices):
            left_out["prices of the default tier that are not the standard ones"] += 1
    conditional = model.prices if isinstance(model.prices, list) else []
    turns = {0, DAY_MINUTES}  # minutes of the day at which a price changes
    for entry in conditional:
        if hasattr(entry.constraint, "start_time"):
            turns |= {_minute(entry.constraint.start_time), _minute(entry.constraint.end_time)}
    hours = list(zip(sorted(turns)[:-1], sorted(turns)[1:], strict=True))
    free = "free" in f"{model.id} {model.name or ''} {model.price_comments or ''}".lower()
    for tier, own in variants.items():
        context = {key: value for variant in own for key, value in variant.when.items()}
        starts = {entry.constraint.start_date for entry in (*conditional, *own) if hasattr(entry.constraint, "start_date")}
        first_price = min((v.constraint.start_date for v in own if hasattr(v.constraint, "start_date")), default=FIRST_DAY)
        base = max((c.constraint.start_date for c in conditional if getattr(c.constraint, "start_date", LAST_DAY) <= first_price), default=FIRST_DAY)
        spans: list[tuple[date, list[dict[str, Any]]]] = []
        for start in sorted({FIRST_DAY, *starts}):
            told = first_price if first_price in learned and base <= start < first_price else start
            counter = left_out if tier == "standard" else Counter()
            sizes: list[dict[str, Any]] = []
            for low, high in hours:
                at = datetime.combine(told, time(low // 60, low % 60), UTC)
                priced = list(_sizes(_all_prices(model.get_prices(at, context)), free, counter))
                sizes += [{"minute_from": low, "minute_to": high} | size for size in priced]
            if not spans or sizes != spans[-1][1]:  # a start that changes no price starts nothing
                spans.append((start, sizes))
        ends = [start for start, _ in spans[1:]] + [LAST_DAY]
        for (start, sizes), end in zip(spans, ends, strict=True):
            for size in sizes:
                named = {"provider": provider, "model": model.id, "service_tier": tier, "region": ""}
                yield _identified(named | {"valid_from": start, "valid_to": end} | size)


def _identified(rate: dict[str, Any]) -> dict[str, Any]:
    """The rate with its id, a hash of what tells it from all others of its snapshot."""
    key = json.dumps([
        *(rate[name] for name in ("provider", "model", "service_tier", "region")), rate["valid_from"].isoformat(), rate["minute_from"],
        rate["input_gt"],
    ])  # fmt: skip
    return rate | {"rate_id": hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:16]}


def _minute(at: time) -> int:
    return at.hour * 60 + at.minute


def _all_prices(prices: Any) -> dict[str, Any]:
    return {key: price for key, price in vars(prices).items() if price is not None and not key.startswith("_")}


def _sizes(prices: dict[str, Any], free: bool, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """One row per size of input between the thresholds of any of the prices; none where nothing that is metered has a price."""
    used = {key: price for key, price in prices.items() if key in USED_KEYS}
    left_out["prices of things without a meter (spans of days x things)"] += len(prices) - len(used)
    if not used and not (free and not prices):
        left_out["spans of days without a price of anything metered" if prices else "spans of days without any price"] += 1
        return
    if not used:
        used = {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}
    images = prices.get("output_image_mtok")
    if images is not None and images != used.get("output_mtok"):
        left_out["output of models whose images cost another price per token than their text"] += 1
        used.pop("output_mtok", None)
    limits = sorted({tier.start for price in used.values() for tier in getattr(price, "tiers", ())})
    for low, high in zip([-1, *limits], [*limits, NO_LIMIT], strict=True):
        row: dict[str, Any] = {"input_gt": low, "input_le": high, **dict.fromkeys(METERS)}
        for keys_of, per in ((TOKEN_KEYS, MILLION), (UNIT_KEYS, THOUSAND)):
            for meter, keys in keys_of.items():
                listed = next((used[key] for key in keys if key in used), None)
                row[meter] = None if listed is None else _per_unit(_at_size(listed, high), per, left_out)
        yield row


def _at_size(listed: Any, most: int) -> Decimal:
    """The price of a request of `most` input tokens: the highest threshold below it decides for all its tokens."""
    if isinstance(listed, Decimal):
        return listed
    return next((tier.price for tier in reversed(listed.tiers) if most > tier.start), listed.base)


def _per_unit(price: Decimal, per: Decimal, left_out: Counter[str]) -> Decimal:
    exact = price / per  # per is a power of ten
    rounded = exact.quantize(PLACES, ROUND_HALF_EVEN)
    left_out["digits of prices finer than the unit (rounded)"] += exact != rounded
    return rounded


def _terms(clause: Any) -> list[list[tuple[str, str]]]:
    """A match clause as alternatives of conditions that hold together."""
    if (parts := getattr(clause, "or_", None)) is not None:
        return [term for part in parts for term in _terms(part)]
    if (parts := getattr(clause, "and_", None)) is not None:
        terms: list[list[tuple[str, str]]] = [[]]
        for part in parts:
            terms = [left + right for left in terms for right in _terms(part)]
        return terms
    return [[next((op, value) for op, value in vars(clause).items())]]


def _supplemented(
    rates: list[dict[str, Any]], rules: list[dict[str, Any]], added: Supplement, left_out: Counter[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rates and rules with what the supplement adds: prices where the source has none, then the rows of regions with an uplift."""
    rates, rules = list(rates), list(rules)
    for entry in added.prices:
        price = (entry.price / entry.per).quantize(PLACES, ROUND_HALF_EVEN)
        for model in entry.models:
            known = _found(rules, entry.provider, model)
            if any(r["provider"] == entry.provider and r["model"] == (known or model) for r in rates):
                left_out["prices of the supplement that the source has too"] += 1
                continue
            if known is None:
                place = 1 + max((r["ord"] for r in rules if r["provider"] == entry.provider), default=-1)
                rules.append({"provider": entry.provider, "ord": place, "model": model, "term": 0, "op": "equals", "pattern": model})
            row = {
                "provider": entry.provider, "model": known or model, "service_tier": "standard", "region": "",
                "valid_from": entry.start or FIRST_DAY, "valid_to": entry.end or LAST_DAY, "minute_from": 0, "minute_to": DAY_MINUTES,
                "input_gt": -1, "input_le": NO_LIMIT, **dict.fromkeys(METERS), entry.meter: price, "source": entry.source,
            }  # fmt: skip
            rates.append(_identified(row))
    for uplift in added.uplifts:
        raised = [rate for rate in rates if not rate["region"] and _is_raised(uplift, rate)]
        left_out["uplifts of the supplement for models that are not listed"] += not raised
        for region in uplift.regions:
            for base in raised:
                first, last = max(base["valid_from"], uplift.start or FIRST_DAY), min(base["valid_to"], uplift.end or LAST_DAY)
                if first < last:
                    higher = {meter: None if base[meter] is None else (base[meter] * uplift.times).quantize(PLACES, ROUND_HALF_EVEN) for meter in METERS}
                    spans = {"region": region.lower(), "valid_from": first, "valid_to": last, "source": uplift.source}
                    rates.append(_identified(base | higher | spans))
    return rates, rules


def _found(rules: list[dict[str, Any]], provider: str, model: str) -> str | None:
    """The model that the rules of single conditions take this name for."""
    terms = Counter((r["model"], r["term"]) for r in rules if r["provider"] == provider)
    own = [r for r in rules if r["provider"] == provider and terms[r["model"], r["term"]] == 1]
    found = Rules.of([Rule(r["model"], "", None, (condition(SUPPLEMENT, r["op"], r["pattern"]),)) for r in own]).find(model.lower())
    return found.model if found else None


def _is_raised(uplift: Uplift, rate: dict[str, Any]) -> bool:
    return rate["provider"] == uplift.provider and any(fnmatchcase(rate["model"], pattern) for pattern in uplift.models)


# --- compare and apply ---------------------------------------------------------------------------------------------


def compare(home: Home, name: str | None, start: date | None, say: Say) -> dict[str, Any]:
    """What the open months would cost if a snapshot decided from `start` on: the models used, where anything differs.

    By default the newest snapshot and the first open day. Months are rated again in a copy; nothing of the home is written.
    """
    manifest = require_manifest(home.require_policy())
    chosen = _snapshot(home, name)
    first_open = _first_open(home)
    start = start or first_open
    if start < first_open:
        raise Refused(f"{start} is in a closed month", "prices", f"closed months keep their prices; choose {first_open} or later")
    with copied(home, home.policy) as copy, open_run(copy, date.fromisoformat(manifest["through"]), say) as run:
        now = _costs(run)
        _decide(copy.list_prices, chosen, start)
        for scope in run.scopes():
            if scope.period.start >= first_open and any(key[0] == scope.period.label for key in now):
                for stage in (normalize.normalize, rate.rate):
                    stage(run, [scope])
        then = _costs(run)
    return {"snapshot": chosen.folder.name, "from": start.isoformat(), "models": _differences(now, then)}


def apply(home: Home, name: str, start: date) -> None:
    """From `start` on the snapshot decides, in open months only; the next night rates those days again."""
    chosen, first_open = _snapshot(home, name), _first_open(home)
    if start < first_open:
        raise Refused(f"{start} is in a closed month", "prices", f"closed months keep their prices; choose {first_open} or later")
    with only_run(home):
        _decide(home.list_prices, chosen, start)


def _snapshot(home: Home, name: str | None) -> Snapshot:
    found = snapshots(home.list_prices)
    chosen = next((s for s in found if s.folder.name == name), None) if name else found[-1]
    if chosen is None:
        raise Refused(f"no snapshot is called {name}", "data/list_prices", f"choose one of {', '.join(s.folder.name for s in found)}")
    if chosen == found[0]:
        raise Refused(f"{chosen.folder.name} is the first snapshot: it decides from the beginning", "prices", "get a newer one with: apportion prices refresh")
    return chosen


def _first_open(home: Home) -> date:
    """The first day of the first month that is not closed."""
    calendar = policy.load(home.require_policy().policy).company.calendar
    closed = [closed_days(versions[-1])[1] for versions in Books(home).closed().values()]
    return max(closed) if closed else next(period.start for period in calendar.all() if period.label >= calendar.first_period)


def _decide(list_prices_dir: Path, chosen: Snapshot, start: date) -> None:
    applied = applications(list_prices_dir) | {chosen.folder.name: start}
    write_text(list_prices_dir / APPLIED, json.dumps({name: f"{day}" for name, day in sorted(applied.items())}, indent=1) + "\n")


def _costs(run: Run) -> dict[tuple[str, str, str], tuple[Decimal, Decimal, int]]:
    """(period, provider, model) -> list cost, our cost and events without a price, of what is bought."""
    if not run.con.execute("select count(*) from duckdb_tables() where table_name = 'usage_daily'").fetchall()[0][0]:
        raise Refused("nothing is rated by this version of the program yet", "prices", "run: apportion nightly")
    rows = run.con.execute(
        """
        select p.period, coalesce(provider, '?'), coalesce(model, '?'), coalesce(sum(list_cost), 0)::decimal(38, 12),
            coalesce(sum(contracted_cost), 0)::decimal(38, 12), sum(unpriced_events)::bigint
        from usage_daily u
        join (select unnest($periods) as period, unnest($starts) as starts_on, unnest($ends) as ends_on) p
            on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
        where u.serving_pool is null
        group by all
        """,
        {"periods": [p.label for p in run.periods], "starts": [p.start for p in run.periods], "ends": [p.end for p in run.periods]},
    ).fetchall()
    return {row[:3]: row[3:] for row in rows}


def _differences(now: dict[Any, Any], then: dict[Any, Any]) -> list[dict[str, Any]]:
    nothing = (Decimal(0), Decimal(0), 0)
    found = []
    for key in now.keys() | then.keys():
        before, after = now.get(key, nothing), then.get(key, nothing)
        if before != after:
            period, provider, model = key
            found.append(
                {
                    "period": period, "provider": provider, "model": model, "list_cost_now": before[0], "list_cost_then": after[0],
                    "cost_now": before[1], "cost_then": after[1], "difference": after[1] - before[1],
                    "unpriced_events_now": before[2], "unpriced_events_then": after[2],
                }
            )  # fmt: skip
    return sorted(found, key=lambda row: (row["period"], -abs(row["difference"]), row["provider"], row["model"]))


def text(found: dict[str, Any]) -> str:
    """One line per month and model whose cost differs, and what applies it."""
    head = f"if the list prices of {found['snapshot']} decided from {found['from']} on"
    if not found["models"]:
        return f"{head}: nothing that is rated would change"
    out = [head, "", f"{'month':<9}{'model':<52}{'now':>16}{'then':>16}{'difference':>16}"]
    for row in found["models"]:
        out.append(f"{row['period']:<9}{row['provider'] + ' ' + row['model']:<52}{row['cost_now']:>16,.2f}{row['cost_then']:>16,.2f}{row['difference']:>+16,.2f}")
        if row["unpriced_events_now"] != row["unpriced_events_then"]:
            out.append(f"{'':<9}calls without a price: {row['unpriced_events_now']:,} now, {row['unpriced_events_then']:,} then")
    total = sum((row["difference"] for row in found["models"]), Decimal(0))
    out.append(f"{'all':<93}{total:>+16,.2f}")
    out.append(f"Nothing was changed. To rate those days so: apportion prices apply {found['snapshot']} --from {found['from']}")
    return "\n".join(out)
