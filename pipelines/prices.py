"""Public list prices: a dated snapshot in `data/list_prices/`, its rates, and which model a logged name means.

    python -m pipelines.prices export data/list_prices     adds <today>/ from the genai-prices that is installed

A snapshot folder is named by its date and never changed; the newest one is used:

    rates.parquet        USD per single token, one row per model, service tier, dates and input size
    match_rules.parquet  how a logged name is recognised, one row per condition; the first model whose terms hold wins
    snapshot.json        source, version, licence, counts of what was taken and of what was left out
    LICENSE              of the source (MIT)

What the export makes of its source, beyond flattening it:

- A tier's price holds for every token of the request, so each row covers `input_gt < input tokens <= input_le`.
- A service tier (batch, flex, priority, fast) covers all the days of its model: before its own start it costs the standard
  price. Many of those starts are the day on which the source learned the price, not the day the vendor set it.
  Variants by route or by kind of search are left out.
- A price by time of day becomes the price at noon UTC, which is the one that holds for most hours of each such day.
- A meter without a price of its own takes that of its nearest priced ancestor: cache reads and audio that of input,
  writes for an hour that of writes, reasoning that of output. A price of zero is a price.
- A model that is sold by the hour, page, character or request has no token price here: its tokens stay unpriced.
  So has a model without any price, unless its name or notes say `free`: unknown is not zero.
- Prices finer than a millionth of a dollar per million tokens are rounded to it, half to even, and counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import Refused

FIRST_DAY, LAST_DAY = date(1, 1, 1), date(9999, 12, 31)
NO_LIMIT = 2**63 - 1
PER_TOKEN = Decimal("0.000001")  # of a price per million tokens
PLACES = Decimal("0.000000000001")

# Meter -> the price keys of genai-prices that may price it, nearest first.
METERS = {
    "input_uncached": ("input_mtok",),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    "output": ("output_mtok",),
    "reasoning": ("output_reasoning_mtok", "output_mtok"),
    "audio_input": ("input_audio_mtok", "input_mtok"),
    "audio_output": ("output_audio_mtok", "output_mtok"),
}
TOKEN_KEYS = {key for keys in METERS.values() for key in keys}
# The requests that get another price -> the service tier as gateways log it. `default` is the standard price.
TIERS = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
    ("service_tier", "default"): "standard",
}
RATES = pa.schema(
    [("rate_id", pa.string()), ("provider", pa.string()), ("model", pa.string()), ("service_tier", pa.string()),
     ("valid_from", pa.date32()), ("valid_to", pa.date32()), ("input_gt", pa.int64()), ("input_le", pa.int64())]
    + [(meter, pa.decimal128(20, 12)) for meter in METERS]
)  # fmt: skip
RULES = pa.schema(
    [("provider", pa.string()), ("ord", pa.int32()), ("model", pa.string()), ("term", pa.int32()),
     ("op", pa.string()), ("pattern", pa.string())]
)  # fmt: skip


# --- use -----------------------------------------------------------------------------------------------------------


def register(con: duckdb.DuckDBPyConnection, list_prices_dir: Path) -> None:
    """Temp table rate_table: the newest snapshot's rates, USD per single token, NULL where a meter has no price.

    At most one row holds for a provider, model, service tier, day and number of input tokens.
    """
    con.execute(
        """
        create or replace temp table rate_table as
        select
            rate_id, 'list' as rate_source, 'USD' as currency, provider, model, service_tier, valid_from, valid_to, input_gt, input_le,
            input_uncached, cache_read, cache_write_5m, cache_write_1h, output, reasoning, audio_input, audio_output
        from read_parquet($path)
        """,
        {"path": str(_file(newest(list_prices_dir), "rates.parquet"))},
    )


def resolve_models(con: duckdb.DuckDBPyConnection, pairs_relation: str, list_prices_dir: Path) -> None:
    """Temp table model_resolution(provider, model_as_logged, model, price_provider, price_model, rule).

    One row per distinct (provider, model_as_logged) of `pairs_relation`. `model` is the list's own name where the same provider
    lists it, else the logged name in lower case; price_* is NULL where no token price is known.
    """
    known = load(list_prices_dir)
    pairs = con.execute(f"select distinct provider, model_as_logged from {pairs_relation} order by all").fetchall()
    columns = ("provider", "model_as_logged", "model", "price_provider", "price_model", "rule")
    found = [(*pair, *known.resolve(*pair)) for pair in pairs]
    table = pa.table({name: pa.array([row[i] for row in found], pa.string()) for i, name in enumerate(columns)})
    con.register("resolved_models", table)
    con.execute("create or replace temp table model_resolution as select * from resolved_models")
    con.unregister("resolved_models")


def newest(list_prices_dir: Path) -> Path:
    """The folder of the newest snapshot; refused where there is none."""
    folders = [p for p in list_prices_dir.glob("[0-9]*") if re.fullmatch(r"\d{4}-\d\d-\d\d", p.name) and p.is_dir()]
    if not folders:
        raise Refused(
            "no snapshot of list prices",
            "data/list_prices",
            "restore the folder, or run `python -m pipelines.prices export`",
        )
    return max(folders, key=lambda p: p.name)


def load(list_prices_dir: Path) -> Known:
    """The newest snapshot's models and how to recognise them; read once per version of its files."""
    folder = newest(list_prices_dir)
    paths = [_file(folder, name) for name in ("match_rules.parquet", "rates.parquet", "snapshot.json")]
    return _load(folder, *((path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise Refused(
            "the snapshot lacks this file", f"data/list_prices/{folder.name}/{name}", "restore the folder or remove it"
        )
    return path


# --- names ---------------------------------------------------------------------------------------------------------

# Vendors by the names that gateways and bills use for them.
PROVIDERS = {
    "vertex_ai": "google", "vertex_ai_beta": "google", "vertex": "google", "gemini": "google", "gcp.vertex_ai": "google",
    "gcp.gemini": "google", "gcp.gen_ai": "google", "gcp": "google",
    "bedrock": "aws", "bedrock_converse": "aws", "aws.bedrock": "aws", "amazon_bedrock": "aws", "amazon-bedrock": "aws", "amazon": "aws",
    "azure_ai": "azure", "azure.ai.openai": "azure", "azure.ai.inference": "azure", "azure_openai": "azure", "azure-openai": "azure",
    "text-completion-openai": "openai", "cohere_chat": "cohere", "xai": "x-ai", "x_ai": "x-ai", "mistral_ai": "mistral", "mistralai": "mistral",
    "together_ai": "together", "together-ai": "together", "fireworks_ai": "fireworks", "fireworks-ai": "fireworks",
    "voyage": "voyageai", "moonshot": "moonshotai", "deepseek-ai": "deepseek",
}  # fmt: skip
# What may stand before the name of a model and says only how it was reached.
ROUTES = {"converse", "converse_like", "invoke", "eu", "us", "global"}
PLACE = re.compile(r"[a-z]{2}(-gov)?-[a-z]+-?\d")  # a cloud region: us-east-1, europe-west4
ZONE = re.compile(r"(us|us-gov|eu|apac|au|ca|jp|global)\.(?=[a-z])")  # of a Bedrock inference profile
PUBLISHED = re.compile(r"(projects/[^/]+/locations/[^/]+/)?(publishers/[^/]+/)?models/")  # a path of Google's
COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
LONGEST_NAME = 400

Matches = Callable[[str], bool]


@dataclass(frozen=True)
class Rule:
    """A model and one way to recognise its name: every condition holds."""

    model: str
    text: str
    name: str | None  # the whole name, where the rule says no more than that
    conditions: tuple[Matches, ...]


@dataclass(frozen=True)
class Rules:
    """One provider's rules; the first in its list that holds wins. Plain names are looked up, the others tried in turn."""

    names: dict[str, tuple[int, Rule]]
    others: tuple[tuple[int, Rule], ...]

    @classmethod
    def of(cls, rules: list[Rule]) -> Rules:
        names: dict[str, tuple[int, Rule]] = {}
        for place, rule in enumerate(rules):
            if rule.name:
                names.setdefault(rule.name, (place, rule))
        return cls(names, tuple((place, rule) for place, rule in enumerate(rules) if not rule.name))

    def find(self, name: str) -> Rule | None:
        last, found = self.names.get(name, (sys.maxsize, None))
        for place, rule in self.others:
            if place > last:
                break
            if all(holds(name) for holds in rule.conditions):
                return rule
        return found


@dataclass(frozen=True)
class Known:
    """One snapshot in memory: rules per provider, models with a token price, whose prices stand in for whose."""

    rules: dict[str, Rules]
    priced: frozenset[tuple[str, str]]
    stand_ins: dict[str, list[str]]

    def resolve(self, provider: str | None, logged: str | None) -> tuple[str | None, str | None, str | None, str]:
        """(model, price_provider, price_model, rule) of a logged name."""
        if not provider or not logged:
            return (logged.lower() if logged else None), None, None, "no provider" if logged else "no model"
        name = logged.strip().lower()
        if len(name) > LONGEST_NAME:
            return name, None, None, "no rule: the name is too long"
        seller, name = self._seller(provider, name)
        for lister in (seller, *self.stand_ins.get(seller, ())):
            for candidate in _candidates(seller, name):
                rule = self.rules[lister].find(candidate) if lister in self.rules else None
                if rule is None:
                    continue
                priced = (lister, rule.model) if (lister, rule.model) in self.priced else (None, None)
                if lister == seller:
                    return rule.model, *priced, rule.text if priced[0] else f"{rule.text} (no token price)"
                return logged.strip().lower(), *priced, f"price of {lister}: {rule.text}"
        return logged.strip().lower(), None, None, "no rule"

    def _seller(self, provider: str, name: str) -> tuple[str, str]:
        """The vendor; the name's own prefix tells it where the log names only the gateway."""
        seller = canonical(provider)
        if seller in ("litellm", "litellm_proxy") and "/" in name:
            prefix, rest = name.split("/", 1)
            if canonical(prefix) in self.rules:
                return canonical(prefix), rest
        return seller, name


def canonical(provider: str) -> str:
    """The vendor's name in the list prices."""
    name = provider.strip().lower()
    return PROVIDERS.get(name, name)


def _candidates(seller: str, name: str) -> Iterator[str]:
    """The name as logged, then without what only says how it was reached, then with its date written with dashes."""
    tried = [name]
    short = name.rsplit("/", 1)[-1] if name.startswith("arn:") else PUBLISHED.sub("", name)
    while "/" in short:
        first, rest = short.split("/", 1)
        if canonical(first) != seller and first not in ROUTES and not PLACE.fullmatch(first):
            break
        short = rest
    tried.append(short)
    if seller == "aws":
        tried.append(ZONE.sub("", short, count=1) if ZONE.match(short) else short)
    tried += [COMPACT_DATE.sub(r"-\1-\2-\3", text) for text in tried]
    yield from dict.fromkeys(tried)


@lru_cache(maxsize=8)
def _load(folder: Path, *_versions: tuple[int, int]) -> Known:
    terms: dict[tuple[str, int, str, int], list[tuple[str, str]]] = {}
    for row in pq.read_table(folder / "match_rules.parquet").to_pylist():
        key = row["provider"], row["ord"], row["model"], row["term"]
        terms.setdefault(key, []).append((row["op"], row["pattern"]))
    rules: dict[str, list[Rule]] = {}
    for (provider, _, model, _), conditions in sorted(terms.items()):
        text = " and ".join(f"{op} {pattern}" for op, pattern in conditions)
        name = conditions[0][1].lower() if [op for op, _ in conditions] == ["equals"] else None
        tests = tuple(_condition(folder, op, pattern) for op, pattern in conditions)
        rules.setdefault(provider, []).append(Rule(model, text, name, tests))
    rates = pq.read_table(folder / "rates.parquet", columns=["provider", "model"]).to_pylist()
    return Known(
        {provider: Rules.of(ordered) for provider, ordered in rules.items()},
        frozenset((row["provider"], row["model"]) for row in rates),
        json.loads((folder / "snapshot.json").read_text())["stand_ins"],
    )


def _condition(folder: Path, op: str, pattern: str) -> Matches:
    """A test of a lower-case name. Patterns but regular expressions are compared in lower case."""
    low = pattern.lower()
    if op == "equals":
        return low.__eq__
    if op == "contains":
        return lambda name: low in name
    if op == "starts_with":
        return lambda name: name.startswith(low)
    if op == "ends_with":
        return lambda name: name.endswith(low)
    where = f"data/list_prices/{folder.name}/match_rules.parquet"
    if op != "regex":
        raise Refused(f"unknown kind of rule {op!r}", where, "export the snapshot again")
    try:
        search = re.compile(pattern).search
    except re.error:
        raise Refused(f"not a regular expression: {pattern!r}", where, "export the snapshot again") from None
    return lambda name: search(name) is not None


# --- export --------------------------------------------------------------------------------------------------------


def export(list_prices_dir: Path, day: date) -> Path:
    """Writes the snapshot of `day` from the installed genai-prices; refused where that day has one already."""
    try:
        from genai_prices.data import providers
    except ImportError:
        raise Refused("genai-prices is not installed", "", "pip install 'apportion[list-prices]'") from None
    folder = list_prices_dir / day.isoformat()
    if folder.exists():
        raise Refused(
            "this day has a snapshot already", str(folder), "a snapshot is never changed; remove it to make it anew"
        )
    source = distribution("genai-prices")
    left_out: Counter[str] = Counter()
    rates = [
        rate for provider in providers for model in provider.models for rate in _rates(provider.id, model, left_out)
    ]
    rules = [
        {"provider": provider.id, "ord": place, "model": model.id, "term": term, "op": op, "pattern": pattern}
        for provider in providers
        for place, model in enumerate(provider.models)
        for term, conditions in enumerate(_terms(model.match))
        for op, pattern in conditions
    ]
    facts = {
        "source": "genai-prices",
        "url": "https://github.com/pydantic/genai-prices",
        "license": "MIT",
        "version": source.version,
        "date": day.isoformat(),
        "currency": "USD",
        "unit": "one token",
        "counts": {
            "providers": len(providers),
            "models": sum(len(provider.models) for provider in providers),
            "priced_models": len({(rate["provider"], rate["model"]) for rate in rates}),
            "rates": len(rates),
            "match_rules": len(rules),
        },
        "left_out": dict(sorted(left_out.items())),
        "stand_ins": {p.id: list(p.fallback_model_providers) for p in providers if p.fallback_model_providers},
    }
    part = list_prices_dir / f".{day.isoformat()}.new"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rates, RATES), part / "rates.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(rules, RULES), part / "match_rules.parquet", compression="zstd")
    (part / "snapshot.json").write_text(json.dumps(facts, indent=2) + "\n")
    (part / "LICENSE").write_text(source.read_text("licenses/LICENSE") or "MIT\n")
    return part.rename(folder)


def _rates(provider: str, model: Any, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """The model's rows: each service tier that has its own price, on each span of days, for each size of input."""
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
    left_out["prices by time of day, not in force at noon UTC"] += sum(
        hasattr(entry.constraint, "start_time") and not entry.constraint.active(_noon(FIRST_DAY))
        for entry in conditional
    )
    free = "free" in f"{model.id} {model.name or ''} {model.price_comments or ''}".lower()
    for tier, own in variants.items():
        context = {key: value for variant in own for key, value in variant.when.items()}
        starts = {
            entry.constraint.start_date for entry in (*conditional, *own) if hasattr(entry.constraint, "start_date")
        }
        spans: list[tuple[date, list[dict[str, Any]]]] = []
        for start in sorted({FIRST_DAY, *starts}):
            prices = _all_prices(model.get_prices(_noon(start), context))
            sizes = list(_sizes(prices, free, left_out if tier == "standard" else Counter()))
            if not spans or sizes != spans[-1][1]:  # a start that changes no token price starts nothing
                spans.append((start, sizes))
        ends = [start for start, _ in spans[1:]] + [LAST_DAY]
        for (start, sizes), end in zip(spans, ends, strict=True):
            for size in sizes:
                key = json.dumps([provider, model.id, tier, start.isoformat(), size["input_gt"]])
                rate_id = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:16]
                named = {"rate_id": rate_id, "provider": provider, "model": model.id, "service_tier": tier}
                yield named | {"valid_from": start, "valid_to": end} | size


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def _all_prices(prices: Any) -> dict[str, Any]:
    return {key: price for key, price in vars(prices).items() if price is not None and not key.startswith("_")}


def _sizes(prices: dict[str, Any], free: bool, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    """One row per size of input between the thresholds of any of the prices; none where tokens have no price."""
    tokens = {key: price for key, price in prices.items() if key in TOKEN_KEYS}
    left_out["prices of other things than plain tokens (spans of days x things)"] += len(prices) - len(tokens)
    if not tokens and not (free and not prices):
        left_out["spans of days without a token price" if prices else "spans of days without any price"] += 1
        return
    if not tokens:
        tokens = {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}
    limits = sorted({tier.start for price in tokens.values() for tier in getattr(price, "tiers", ())})
    for low, high in zip([-1, *limits], [*limits, NO_LIMIT], strict=True):
        row: dict[str, Any] = {"input_gt": low, "input_le": high}
        for meter, keys in METERS.items():
            listed = next((tokens[key] for key in keys if key in tokens), None)
            row[meter] = None if listed is None else _per_token(_at_size(listed, high), left_out)
        yield row


def _at_size(listed: Any, most: int) -> Decimal:
    """The price of a request of `most` input tokens: the highest threshold below it decides for all its tokens."""
    if isinstance(listed, Decimal):
        return listed
    return next((tier.price for tier in reversed(listed.tiers) if most > tier.start), listed.base)


def _per_token(per_million: Decimal, left_out: Counter[str]) -> Decimal:
    exact = per_million * PER_TOKEN
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


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.prices", description="Add a snapshot of public list prices."
    )
    parser.add_argument("command", choices=["export"])
    parser.add_argument("folder", type=Path, help="data/list_prices")
    given = parser.parse_args()
    try:
        print(export(given.folder, datetime.now(UTC).date()))
    except Refused as refused:
        parser.exit(1, f"{refused}\n")


if __name__ == "__main__":
    main()
