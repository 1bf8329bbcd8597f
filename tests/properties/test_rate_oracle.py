"""Rating agrees to the last digit with an oracle that reads the same price rows, contracts and bills and works in fractions.

Worlds are drawn at random: snapshots recorded one after the other, service tiers, regions, hours, steps of the context, prices
that are missing, discounts and markups by scope, private prices, bills that count what they charge. APPORTION_ORACLE_EVENTS says how
many events (default 100,000).
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import models, policy, prices
from pipelines.home import asset
from pipelines.sources import EVENT
from pipelines.warehouse import memory

EVENTS = int(os.environ.get("APPORTION_ORACLE_EVENTS", "100000"))
WORLDS = 4
PERIOD, FIRST, DAYS = "2026-10", date(2026, 10, 1), 31
TOKENS = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "audio_input", "audio_output")
INPUT = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "audio_input")
UNITS = ("images", "search_units")
BILLABLE = (*TOKENS, "images")
# What a contract leaves out and nothing else prices costs what it says of these.
LEFT_OUT = {"cache_read": "input_uncached", "cache_write_5m": "input_uncached", "cache_write_1h": "input_uncached", "audio_input": "input_uncached", "audio_output": "output"}
VENDORS = {"northwind": ["n-large", "n-small", "n-embed"], "contoso": ["c-one", "c-two"], "fabrikam": ["f-inside"]}


@dataclass
class World:
    """Everything that decides a price, as plain rows."""

    snapshots: list[tuple[date, date | None, list[dict[str, Any]]]]  # recorded, applied from, rates
    discounts: list[dict[str, Any]]
    private: list[dict[str, Any]]
    bills: list[dict[str, Any]]


# --- worlds ----------------------------------------------------------------------------------------------------------


def cut(rng: random.Random, low: Any, high: Any, points: list[Any]) -> list[tuple[Any, Any]]:
    edges = [low, *sorted(rng.sample(points, rng.randrange(0, min(3, len(points) + 1)))), high]
    return list(pairwise(edges))


def price(rng: random.Random) -> Fraction:
    return Fraction(rng.randrange(0, 90_000_000), 10**12) if rng.random() < 0.8 else Fraction(rng.randrange(0, 10**6), 10**12)


def rates_of(rng: random.Random, provider: str, model: str) -> list[dict[str, Any]]:
    rows = []
    for tier in ["standard", *(t for t in ("batch", "flex", "priority") if rng.random() < 0.5)]:
        for region in ["", *(["eu"] if rng.random() < 0.4 else [])]:
            for valid_from, valid_to in cut(rng, date(1, 1, 1), date(9999, 12, 31), [FIRST + timedelta(days=d) for d in range(-3, 34)]):
                for low, high in cut(rng, 0, 1440, [30, 60, 240, 600, 990]):
                    for more_than, at_most in cut(rng, -1, 2**63 - 1, [0, 1_000, 128_000, 200_000]):
                        known = {m: None if rng.random() < 0.12 else price(rng) for m in (*TOKENS, *UNITS)}
                        fee = price(rng) if rng.random() < 0.2 else None
                        rows.append({
                            "provider": provider, "model": model, "service_tier": tier, "region": region, "valid_from": valid_from,
                            "valid_to": valid_to, "minute_from": low, "minute_to": high, "input_gt": more_than, "input_le": at_most,
                            **known, "requests": fee,
                        })  # fmt: skip
    return rows


def world(rng: random.Random) -> World:
    listed = [(p, m) for p, names in VENDORS.items() if p != "fabrikam" for m in names]
    drawn = []
    for recorded in sorted(rng.sample([FIRST + timedelta(days=d) for d in range(2, 28)], 2)):
        known = [pair for pair in listed if rng.random() < 0.9]
        applied = FIRST + timedelta(days=rng.randrange(0, 28)) if rng.random() < 0.4 else None
        drawn.append((recorded, applied, [row for pair in known for row in rates_of(rng, *pair)]))
    discounts, private, bills = [], [], []
    if rng.random() < 0.7:
        start = FIRST + timedelta(days=rng.randrange(-5, 20))
        discounts.append({"provider": "northwind", "model": None, "percent": Fraction(rng.randrange(0, 500_000), 10_000), "from": start, "to": start + timedelta(days=9)})
    if rng.random() < 0.7:
        discounts.append({"provider": "northwind", "model": "n-small", "percent": Fraction(rng.randrange(0, 400), 8), "from": FIRST, "to": FIRST + timedelta(days=50)})
    discounts = [{"meter": None} | d for d in discounts]
    for provider, model, meter in ((None, None, None), ("northwind", "n-large", rng.choice(["input_uncached", "output", "reasoning"])), ("northwind", "n-large", "cache_read")):
        if rng.random() < 0.7:
            start = FIRST + timedelta(days=rng.randrange(-5, 25))
            percent = Fraction(rng.randrange(-400, 400), 8)
            discounts.append({"provider": provider, "model": model, "meter": meter, "percent": percent, "from": start, "to": start + timedelta(days=8)})
    start = FIRST + timedelta(days=rng.randrange(-5, 25))
    for meter in rng.sample(["input_uncached", "cache_read", "output"], 2):
        private.append({"provider": "contoso", "model": "c-one", "meter": meter, "price": Fraction(rng.randrange(1, 10**8), 10**12), "from": start, "to": start + timedelta(days=12)})
    for provider, model in (("fabrikam", "f-inside"), ("contoso", "c-one"), ("contoso", "c-two"), ("northwind", "n-large")):
        for tier in ("standard", "batch"):
            for meter in rng.sample(BILLABLE, 6):
                bills.append({"provider": provider, "model": model, "service_tier": tier, "meter": meter, "quantity": rng.randrange(1, 10**9), "cost": Fraction(rng.randrange(1, 10**15), 10**12)})
    return World(drawn, discounts, private, bills)


def event(rng: random.Random, n: int) -> dict[str, Any]:
    provider = rng.choice(["northwind", "northwind", "contoso", "contoso", "fabrikam", "nobody"])
    model = rng.choice([*VENDORS.get(provider, []), "unheard-of"]) if rng.random() < 0.95 else None
    cached = rng.random() < 0.05
    counts = dict.fromkeys((*TOKENS, *UNITS), 0)
    if not cached and rng.random() < 0.95:
        for meter in TOKENS:
            if rng.random() < (0.7 if meter in ("input_uncached", "output") else 0.25):
                counts[meter] = rng.choice([1, rng.randrange(5_000), rng.randrange(400_000), 10**9 + rng.randrange(10**9)])
        if rng.random() < 0.2:  # right at a step of the context
            counts.update(dict.fromkeys(INPUT, 0), input_uncached=rng.choice([1_000, 1_001, 128_000, 128_001, 199_999, 200_000, 200_001]))
    if not cached and rng.random() < 0.1:
        counts = dict.fromkeys(TOKENS, 0) | {unit: rng.choice([0, 1, 7]) for unit in UNITS}
    elif not cached and rng.random() < 0.05:
        counts["images"] = 3
    return {
        "event_id": f"e{n}", "occurred_at": datetime(2026, 10, 1) + timedelta(days=rng.randrange(DAYS), seconds=rng.randrange(86_400)),
        "provider": provider, "model": model, "service_tier": rng.choice(["standard", "standard", "batch", "flex", "priority", "ultra"]),
        "region": rng.choice([None, "", "eu", "EU", "us-east-1"]), "gateway_cache": "exact" if cached else "none",
        "requests": rng.choice([1, 1, 1, 2, 0]), "status": rng.choice(["success", "success", "failure"]), **counts,
    }  # fmt: skip


# --- the oracle ------------------------------------------------------------------------------------------------------


def snapshot_for(w: World, e: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the snapshots that list the model the one recorded last among those that hold on the day."""
    day, found = e["occurred_at"].date(), []
    for n, (recorded, applied, rates) in enumerate(w.snapshots):
        own = [r for r in rates if (r["provider"], r["model"]) == (e["provider"], e["model"])]
        if own and (n == 0 or (applied or recorded) <= day):
            found = own
    return found


def rate_for(w: World, e: dict[str, Any]) -> dict[str, Any] | None:
    at = e["occurred_at"]
    minute, size = at.hour * 60 + at.minute, -(-sum(e[m] for m in INPUT) // max(e["requests"], 1))  # of one of its requests
    rows = [r for r in snapshot_for(w, e) if r["valid_from"] <= at.date() < r["valid_to"]]
    if not any((r["provider"], r["model"]) == (e["provider"], e["model"]) for _, _, rates in w.snapshots for r in rates):
        tiers = {b["service_tier"] for b in w.bills if (b["provider"], b["model"]) == (e["provider"], e["model"])}
        blank = dict.fromkeys((*TOKENS, *UNITS, "requests")) | {"region": "", "minute_from": 0, "minute_to": 1440, "input_gt": -1, "input_le": 2**63}
        rows = [blank | {"service_tier": tier} for tier in tiers]
    tier = e["service_tier"] if any(r["service_tier"] == e["service_tier"] for r in rows) else "standard"
    rows = [r for r in rows if r["service_tier"] == tier]
    region = (e["region"] or "").lower()
    region = region if any(r["region"] == region for r in rows) else ""
    rows = [r for r in rows if r["region"] == region and r["minute_from"] <= minute < r["minute_to"] and r["input_gt"] < size <= r["input_le"]]
    assert len(rows) <= 1
    return rows[0] if rows else None


def half_even(x: Fraction | None) -> Fraction | None:
    return None if x is None else Fraction(round(x * 10**12), 10**12)


def percent_off(agreed: list[dict[str, Any]], meter: str) -> Fraction | None:
    """Of the discounts that name the meter, else reasoning's of output, else the model, the provider, everything."""
    scopes = [lambda d: d["meter"] == meter, lambda d: meter == "reasoning" and d["meter"] == "output"]
    scopes += [lambda d: d["model"] and not d["meter"], lambda d: d["provider"] and not d["model"], lambda d: not d["provider"]]
    return next((d["percent"] for scope in scopes for d in agreed if scope(d)), None)


def rated(w: World, e: dict[str, Any]) -> tuple[Fraction | None, Fraction | None, str]:
    """List cost, our cost and where the price is from."""
    day, pair = e["occurred_at"].date(), (e["provider"], e["model"])
    tokens = sum(e[m] for m in TOKENS)
    if not tokens and not (e["model"] and any(e[u] for u in UNITS)):
        free = e["gateway_cache"] != "none" or e["status"] == "failure" or not e["requests"]
        return *[Fraction(0) if free else None] * 2, "not metered"
    row = rate_for(w, e)
    if row is None:
        return None, None, "unpriced"
    is_listed = any((r["provider"], r["model"]) == pair for _, _, rates in w.snapshots for r in rates)
    agreed = [
        d for d in w.discounts
        if is_listed and d["provider"] in (None, e["provider"]) and d["model"] in (None, e["model"]) and d["from"] <= day < d["to"]
    ]  # fmt: skip
    private = {p["meter"]: p["price"] for p in w.private if (p["provider"], p["model"]) == pair and p["from"] <= day < p["to"]}
    if "output" in private:
        private["reasoning"] = private["output"]
    billed = {
        b["meter"]: Fraction(int(b["cost"] / b["quantity"] * 10**18), 10**18)
        for b in w.bills
        if (b["provider"], b["model"], b["service_tier"]) == (*pair, row["service_tier"])
    }
    if "output" in billed:
        billed.setdefault("reasoning", billed["output"])
    source = "contract" if agreed or private else "bill" if billed else "list"
    ours = {}
    for meter in (*TOKENS, *UNITS, "requests"):
        listed, off = row[meter], percent_off(agreed, meter)
        ours[meter] = private[meter] if meter in private else billed[meter] if off is None and meter in billed else listed and listed * (1 - (off or Fraction(0)) / 100)
        if ours[meter] is None and meter in LEFT_OUT:
            ours[meter] = private.get(LEFT_OUT[meter])

    def cost(known: dict[str, Fraction | None]) -> Fraction | None:
        total = Fraction(0)
        for meter in (*TOKENS, *UNITS):
            if e[meter] and known[meter] is None and (meter in TOKENS or not tokens):
                return None
            total += e[meter] * (known[meter] or 0)
        return total + e["requests"] * (known["requests"] or 0)

    ours_total = cost(ours)
    return half_even(cost(row)), half_even(ours_total), "unpriced" if ours_total is None else source


# --- the engine ------------------------------------------------------------------------------------------------------


def text(value: Fraction, places: int = 12) -> str:
    whole = value * 10**places
    assert whole.denominator == 1
    return f"{int(whole) // 10**places}.{int(whole) % 10**places:0{places}}"


def write_snapshots(w: World, folder: Path) -> None:
    applied = {}
    for recorded, at, rates in w.snapshots:
        place = folder / f"{recorded}"
        place.mkdir(parents=True)
        rows = [
            r | {m: None if r[m] is None else Decimal(text(r[m])) for m in (*TOKENS, *UNITS, "requests")} | {"rate_id": str(n), "source": "drawn"}
            for n, r in enumerate(rates)
        ]
        pq.write_table(pa.Table.from_pylist(rows, prices.RATES), place / "rates.parquet")
        (place / "snapshot.json").write_text(json.dumps({"source": "drawn", "version": "1", "stand_ins": {}}))
        if at:
            applied[f"{recorded}"] = f"{at}"
    (folder / prices.APPLIED).write_text(json.dumps(applied))


def contracts(w: World) -> str:
    lines = ["version: 1", f"discounts:{'' if w.discounts else ' []'}"]
    for n, d in enumerate(w.discounts):
        scope = "".join(f"{name}: {d[name]}, " for name in ("provider", "model", "meter") if d[name])
        kind = "percent" if d["percent"] >= 0 else "markup"
        lines.append(f"  - {{id: d{n}, {scope}{kind}: \"{text(abs(d['percent']), 6)}\", from: {d['from']}, to: {d['to']}}}")
    lines.append("private_prices:")
    for n, p in enumerate(w.private):
        cost = text(p["price"] * 10**6, 6)
        lines.append(f"  - {{id: p{n}, provider: {p['provider']}, model: {p['model']}, meter: {p['meter']}, per_million: \"{cost}\", from: {p['from']}, to: {p['to']}}}")
    return "\n".join(lines) + "\n"


def load(con: duckdb.DuckDBPyConnection, name: str, rows: list[dict[str, Any]], kinds: dict[str, str]) -> None:
    con.execute(f"create or replace temp table {name}({', '.join(f'{c} {k}' for c, k in kinds.items())})")
    table = pa.table({c: pa.array([None if r.get(c) is None else str(r[c]) for r in rows], pa.string()) for c in kinds})
    con.register("given", table)
    con.execute(f"insert into {name} select * from given")
    con.unregister("given")


def engine(w: World, events: list[dict[str, Any]], folder: Path) -> dict[str, tuple[Any, ...]]:
    policy.write_template(folder / "policy", PERIOD)
    (folder / "policy" / "contracts.yaml").write_text(contracts(w))
    write_snapshots(w, folder / "list_prices")
    with memory() as con:
        con.execute(asset("sql", "macros.sql").read_text())
        policy.register(con, policy.load(folder / "policy"))
        prices.register(con, folder / "list_prices")
        listed = {(r["provider"], r["model"]) for _, _, rates in w.snapshots for r in rates}
        load(con, "model_names", [{"usage_period": PERIOD, "price_provider": p, "price_model": m, "list_provider": p, "list_model": m} for p, m in listed], dict.fromkeys(("usage_period", "price_provider", "price_model", "list_provider", "list_model"), "varchar"))
        lines = [
            {"usage_period": PERIOD, "charge_category": "Usage", "billing_currency": "USD", "consumed_unit": "Images" if b["meter"] == "images" else "Tokens",
             "provider": b["provider"], "model": b["model"], "service": "API", "service_tier": b["service_tier"], "sku_meter": b["meter"],
             "consumed_quantity": b["quantity"], "contracted_cost": text(b["cost"])}
            for b in w.bills
        ]  # fmt: skip
        texts = ("usage_period", "charge_category", "charge_class", "billing_currency", "consumed_unit", "provider", "model", "service", "service_tier", "sku_meter", "usage_date", "vector_index_id", "cluster")
        load(con, "bill_lines", lines, dict.fromkeys(texts, "varchar") | dict.fromkeys(("consumed_quantity", "contracted_cost"), "decimal(38, 12)"))
        by_name = {model.name: model for model in models.stage("rate")}
        params = {"period": PERIOD, "period_start": FIRST, "period_end": FIRST + timedelta(days=DAYS)}
        for name in ("bill_prices", "rates"):
            model = by_name[name]
            con.execute(f"create temp table {name} as select $period as usage_period, * from ({model.sql})", {k: params[k] for k in {*model.parameters, "period"}})
        kinds = {name: kind for name, kind in EVENT.items() if name not in ("event_version", "gateway_team", "project", "triggered_by")}
        kinds |= {name: "varchar" for name in ("caller_team_id", "team_id", "project_id", "billing_account_id", "model", "price_provider", "price_model", "source", "serving_pool", "source_file", "unknown_trigger")}
        kinds |= {"usage_date": "date", "provider_day": "date", "source_row": "bigint"}
        rows = [
            e | {f"{m}_tokens": e[m] for m in TOKENS} | {"usage_date": e["occurred_at"].date(), "source": "drawn"}
            | ({"price_provider": e["provider"], "price_model": e["model"]} if (e["provider"], e["model"]) in listed else {})
            for e in events
        ]  # fmt: skip
        load(con, "events", rows, kinds)
        models.make(con, by_name["usage_events"], params)
        found = con.execute("select event_id, list_cost, contracted_cost, rate_source, unpriced_because, rate_id from usage_events").fetchall()
        daily = con.execute(f"select sum(list_cost), sum(contracted_cost), sum(events), sum(unpriced_events) from ({by_name['usage_daily'].sql})").fetchall()
    assert len(found) == len(events)
    told = [row[1:] for row in found]
    known = [sum(Fraction(row[i]) for row in told if row[i] is not None) for i in (0, 1)]
    assert (Fraction(daily[0][0] or 0), Fraction(daily[0][1] or 0), *daily[0][2:]) == (*known, len(events), sum(row[2] == "unpriced" for row in told))
    assert all((row[2] == "unpriced") == (row[3] is not None) and (row[2] in ("unpriced", "not metered") or row[4]) for row in told)
    return {row[0]: row[1:] for row in found}


@pytest.mark.parametrize("seed", range(WORLDS))
def test_every_event_costs_what_the_oracle_says(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    w = world(rng)
    events = [event(rng, n) for n in range(EVENTS // WORLDS)]
    found = engine(w, events, tmp_path)
    sources: dict[str, int] = {}
    differing = []
    for e in events:
        listed, ours, source = rated(w, e)
        sources[source] = sources.get(source, 0) + 1
        got = found[e["event_id"]]
        money = tuple(None if x is None else Fraction(x) for x in got[:2])
        if money != (listed, ours) or got[2] != source:
            differing.append((got, (listed, ours, source), e))
    assert not differing, (len(differing), differing[:2])
    assert {"bill", "list", "unpriced", "not metered"} <= sources.keys()
