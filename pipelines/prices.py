"""Public list prices: dated snapshots in `data/list_prices/`, the rates they say, and which model a logged name means.

A snapshot folder is named by the day it was recorded and never changed; `apportion prices refresh` adds one (snapshots.py):

    rates.parquet        USD per token, image, search unit or request; one row per model, service tier, region, dates, hours, input size
    match_rules.parquet  how a logged name is recognised, one row per condition; the first model whose terms hold wins
    snapshot.json        source, version, licence, counts of what was taken and of what was left out
    LICENSE              of the source (MIT)

Which snapshot decides on which usage day is itself on record, so that a price list learnt today never changes yesterday:

- the oldest snapshot holds from the beginning, every other from the day in its name on;
- `applied.json` says otherwise, by snapshot: the first day that it decides. Only `apportion prices apply` writes it;
- of two snapshots that would decide a day the one recorded later does, but a model it does not list keeps the older price.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import Refused

FIRST_DAY, LAST_DAY = date(1, 1, 1), date(9999, 12, 31)
NO_LIMIT = 2**63 - 1
DAY_MINUTES = 24 * 60
APPLIED = "applied.json"

TOKEN_METERS = (
    "input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "audio_input", "audio_output",
)  # fmt: skip
METERS = (*TOKEN_METERS, "images", "search_units", "requests")  # what a rate prices, one column each
RATES = pa.schema(
    [("rate_id", pa.string()), ("provider", pa.string()), ("model", pa.string()), ("service_tier", pa.string()),
     ("region", pa.string()), ("valid_from", pa.date32()), ("valid_to", pa.date32()), ("minute_from", pa.int32()),
     ("minute_to", pa.int32()), ("input_gt", pa.int64()), ("input_le", pa.int64())]
    + [(meter, pa.decimal128(20, 12)) for meter in METERS]
    + [("source", pa.string())]
)  # fmt: skip
RULES = pa.schema(
    [("provider", pa.string()), ("ord", pa.int32()), ("model", pa.string()), ("term", pa.int32()),
     ("op", pa.string()), ("pattern", pa.string())]
)  # fmt: skip


# --- use -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A folder of list prices, the day it was recorded, the version of its source, and the first usage day it decides."""

    folder: Path
    recorded_at: date
    source_version: str
    holds_from: date


def snapshots(list_prices_dir: Path) -> list[Snapshot]:
    """Every snapshot, oldest first; refused where there is none."""
    folders = sorted(
        (p for p in list_prices_dir.glob("[0-9]*") if re.fullmatch(r"\d{4}-\d\d-\d\d", p.name) and p.is_dir()),
        key=lambda p: p.name,
    )
    if not folders:
        raise Refused("no snapshot of list prices", "data/list_prices", "restore the folder, or run: apportion prices refresh")
    applied = applications(list_prices_dir)
    found = []
    for folder in folders:
        day = date.fromisoformat(folder.name)
        facts = json.loads(_file(folder, "snapshot.json").read_text(encoding="utf-8"))
        holds_from = FIRST_DAY if folder == folders[0] else applied.get(folder.name, day)
        found.append(Snapshot(folder, day, f"{facts['source']} {facts['version']}", holds_from))
    return found


def applications(list_prices_dir: Path) -> dict[str, date]:
    """Snapshot -> the first usage day it decides, where somebody asked for another day than that of its record."""
    path = list_prices_dir / APPLIED
    if not path.is_file():
        return {}
    try:
        return {name: date.fromisoformat(day) for name, day in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, TypeError):
        raise Refused("does not say which snapshot decides from which day", f"data/list_prices/{APPLIED}", "restore or remove it") from None


def register(con: duckdb.DuckDBPyConnection, list_prices_dir: Path, name: str = "rate_table") -> None:
    """Temp table `name`: what each snapshot says for the days it decides, USD per unit, NULL where a meter has no price.

    At most one row holds for a provider, model, service tier, region, day, minute of the day (UTC) and number of input tokens.
    `region` is empty in the rows of everywhere else.
    """
    found = snapshots(list_prices_dir)
    for snapshot in found:
        if not set(RATES.names) <= set(pq.read_schema(_file(snapshot.folder, "rates.parquet")).names):
            where = f"data/list_prices/{snapshot.folder.name}/rates.parquet"
            raise Refused("is of an older version of this program", where, "remove the folder and run: apportion prices refresh")
    columns = ("path", "recorded_at", "source_version", "holds_from")
    rows = [(str(s.folder / "rates.parquet"), s.recorded_at, s.source_version, s.holds_from) for s in found]
    con.register("price_snapshots", pa.table({column: [row[i] for row in rows] for i, column in enumerate(columns)}))
    con.execute(
        f"""
        create or replace temp table {name} as
        with listed as (
            select r.* exclude (filename), s.recorded_at, s.source_version, s.holds_from
            from read_parquet($paths, filename = true) r
            join price_snapshots s on s.path = r.filename
        ),
        -- A model is decided by its newest snapshot of the day: an older one until the first day of any newer one.
        held as (
            select *, coalesce(min(holds_from) over (
                partition by provider, model order by recorded_at
                range between interval 1 day following and unbounded following), $last) as holds_to
            from listed
        )
        select
            rate_id, 'list' as rate_source, 'USD' as currency, provider, model, service_tier, region,
            greatest(valid_from, holds_from) as valid_from, least(valid_to, holds_to) as valid_to,
            minute_from, minute_to, input_gt, input_le,
            {", ".join(METERS)}, source, recorded_at, source_version
        from held
        where greatest(valid_from, holds_from) < least(valid_to, holds_to)
        """,
        {"paths": [row[0] for row in rows], "last": LAST_DAY},
    )
    con.unregister("price_snapshots")


@dataclass(frozen=True)
class Override:
    """What the operator says a logged name means: a model of the list of `prices_of`."""

    provider: str
    logged: str
    prices_of: str
    model: str


def resolve_models(
    con: duckdb.DuckDBPyConnection,
    pairs_relation: str,
    list_prices_dir: Path,
    days: tuple[date, date] = (FIRST_DAY, LAST_DAY),
    overrides: Sequence[Override] = (),
) -> None:
    """Temp table model_resolution(provider, model_as_logged, seller, model, price_provider, price_model, rule, source_version).

    One row per distinct (provider, model_as_logged) of `pairs_relation`. `seller` is the vendor by the list's
    name of it, `model` the list's own name where the same provider lists it, else the logged name in lower case; price_* is NULL where no price is known. Of the snapshots that decide any of
    `days` (half-open) the oldest that knows a price says what a name means: a newer one may add names, not change them.
    """
    known = [(s.source_version, load_snapshot(s.folder)) for s in _asked(list_prices_dir, days)]
    said = {(canonical(o.provider), o.logged.strip().lower()): o for o in overrides}
    pairs = con.execute(f"select distinct provider, model_as_logged from {pairs_relation} order by all").fetchall()
    found = []
    for provider, logged in pairs:
        override = said.get((canonical(provider), logged.strip().lower())) if provider and logged else None
        asked = (override.prices_of, override.model) if override else (provider, logged)
        told = [(version, snapshot.resolve(*asked)) for version, snapshot in known]
        version, answer = next(((v, a) for v, a in told if a[2]), told[-1])
        if override:
            answer = (*answer[:3], f"override: {override.prices_of} {override.model}" + ("" if answer[2] else " (no price)"))
        seller = known[-1][1].sold_by(provider, logged.strip().lower())[0] if provider and logged else None
        found.append((provider, logged, seller, *answer, version))
    columns = ("provider", "model_as_logged", "seller", "model", "price_provider", "price_model", "rule", "source_version")
    table = pa.table({name: pa.array([row[i] for row in found], pa.string()) for i, name in enumerate(columns)})
    con.register("resolved_models", table)
    con.execute("create or replace temp table model_resolution as select * from resolved_models")
    con.unregister("resolved_models")


def _asked(list_prices_dir: Path, days: tuple[date, date]) -> list[Snapshot]:
    """The snapshots that decide at least one of `days` (half-open), oldest first, then those before them, newest first."""
    found = snapshots(list_prices_dir)
    ends = [min((later.holds_from for later in found[i + 1 :]), default=LAST_DAY) for i in range(len(found))]
    decide = [s for s, end in zip(found, ends, strict=True) if max(s.holds_from, days[0]) < min(end, days[1])]
    return decide + [s for s in reversed(found) if s.holds_from < days[1] and s not in decide]


def newest(list_prices_dir: Path) -> Path:
    """The folder of the newest snapshot; refused where there is none."""
    return snapshots(list_prices_dir)[-1].folder


def load(list_prices_dir: Path) -> Known:
    """The newest snapshot's models and how to recognise them."""
    return load_snapshot(newest(list_prices_dir))


def load_snapshot(folder: Path) -> Known:
    """A snapshot's models and how to recognise them; read once per version of its files."""
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
    """One snapshot in memory: rules per provider, models with a price, whose prices stand in for whose."""

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
        seller, name = self.sold_by(provider, name)
        for lister in (seller, *self.stand_ins.get(seller, ())):
            for candidate in _candidates(seller, name):
                rule = self.rules[lister].find(candidate) if lister in self.rules else None
                if rule is None:
                    continue
                priced = (lister, rule.model) if (lister, rule.model) in self.priced else (None, None)
                if lister == seller:
                    return rule.model, *priced, rule.text if priced[0] else f"{rule.text} (no price)"
                return logged.strip().lower(), *priced, f"price of {lister}: {rule.text}"
        return logged.strip().lower(), None, None, "no rule"

    def sold_by(self, provider: str, name: str) -> tuple[str, str]:
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
        tests = tuple(condition(folder.name, op, pattern) for op, pattern in conditions)
        rules.setdefault(provider, []).append(Rule(model, text, name, tests))
    rates = pq.read_table(folder / "rates.parquet", columns=["provider", "model"]).to_pylist()
    return Known(
        {provider: Rules.of(ordered) for provider, ordered in rules.items()},
        frozenset((row["provider"], row["model"]) for row in rates),
        json.loads((folder / "snapshot.json").read_text())["stand_ins"],
    )


def condition(snapshot: str, op: str, pattern: str) -> Matches:
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
    where = f"data/list_prices/{snapshot}/match_rules.parquet"
    if op != "regex":
        raise Refused(f"unknown kind of rule {op!r}", where, "remove the folder and run: apportion prices refresh")
    try:
        search = re.compile(pattern).search
    except re.error:
        raise Refused(f"not a regular expression: {pattern!r}", where, "remove the folder and run: apportion prices refresh") from None
    return lambda name: search(name) is not None
