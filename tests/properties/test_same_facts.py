"""The same facts in every format: usage gives the same meters and money, and bills and usage reports the same day by day."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs
from pipelines.sample.company import BILLED_AS
from pipelines.sample.truth import BillLine, Event
from pipelines.sample.writers import anthropic_costs, focus, litellm, mapped, openai_costs
from pipelines.sources import registry
from tests.conftest import empty_home, quiet
from tests.reading import METERS
from tests.unit import test_cloud_bills as clouds
from tests.unit import test_declared_gateways as declared
from tests.unit import test_trace_readers as traces
from tests.unit import test_usage_reports as reports
from tests.unit import test_vendor_bills as vendors

# --- gateways ------------------------------------------------------------------------------------------------------

CALLS = [e for e in declared.EVENTS if not e.cached and not e.long and e.status == "success"]
CALLS = sorted(CALLS, key=lambda e: -sum(getattr(e, meter) > 0 for meter in METERS))[:20] + [e for e in CALLS if e.operation == "embedding"][:4]
ONE_VENDOR = {"bedrock": ("aws", "amazon.nova-pro-v1:0"), "azure_apim": ("azure", "gpt-4.1")}  # its provider, and a chat model it sells
Write = Callable[[Event], dict[str, Any]]


def _span(event: Event) -> dict[str, Any]:
    made, resource = traces.span_of(event, CALLS.index(event))
    return traces.export(made, resource=resource)


GATEWAYS: dict[str, tuple[Write, tuple[str, ...]]] = {  # format -> writer, meters it tells
    "litellm": (litellm.payload, METERS),
    "otel_genai": (_span, ("input_uncached", "cache_read", "cache_write_5m", "output", "reasoning")),
    "langfuse": (traces.observation, METERS),
    **{name: (write, meters) for name, write, meters, _ in declared.CASES},
}
DAILY = ("input_uncached", "cache_read", "cache_write_5m", "output")
FIELDS = {"envoy": {"gateway_team": "x-team"}, "otel_genai": {"gateway_team": "team.id"}}


def called(format_: str) -> list[Event]:
    """The calls, of a vendor that the format can log."""
    said = ONE_VENDOR.get(format_)
    return [replace(event, provider=said[0], model=said[1]) for event in CALLS if event.operation == "chat"] if said else CALLS


def told(event: Event, format_: str, meters: tuple[str, ...]) -> Event:
    """The event as far as the format can tell it, under an id of the format's."""
    counts = dict(zip(METERS, declared.known(event, meters), strict=True))
    return replace(event, **counts, event_id=f"{format_}:{event.event_id}")


def rollups(events: Iterable[Event]) -> list[dict[str, Any]]:
    names = ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "api_requests", "successful_requests")
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(names))
    for e in events:
        key = (f"{e.day}", e.provider, e.model or "", f"/v1/{'embeddings' if e.operation == 'embedding' else 'chat/completions'}")
        counts = (e.input_total, e.output_total, e.cache_read, e.cache_write_5m + e.cache_write_1h, 1, 1)
        sums[key] = [have + count for have, count in zip(sums[key], counts, strict=True)]
    keys = ("date", "custom_llm_provider", "model", "endpoint")
    return [dict(zip((*keys, *names, "team_id"), (*key, *counts, "a"), strict=True)) for key, counts in sums.items()]


def test_calls_cost_the_same_whichever_gateway_logged_them(tmp_path: Path) -> None:
    everything = {name: {"column": name} for name in mapped.ALL_COLUMNS}
    entries: list[dict[str, Any]] = [{"name": "reference", "format": "mapped", "file": "csv", "tokens": "exclusive", "fields": everything}]
    entries += [{"name": name.replace("_", "-"), "format": name, **({"fields": FIELDS[name]} if name in FIELDS else {})} for name in (*GATEWAYS, "litellm_daily")]
    home = empty_home(tmp_path, json.dumps({"version": 1, "gateways": entries}))

    def put(source: str, name: str, data: bytes) -> None:
        path = home.landing / "gateway" / source / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)

    everyone = {**{name: meters for name, (_, meters) in GATEWAYS.items()}, "litellm_daily": DAILY}
    events = [told(event, name, meters) for name, meters in everyone.items() for event in called(name)]
    put("reference", "a.csv", mapped.write_csv(events, mapped.ALL_COLUMNS))
    for name, (write, _) in GATEWAYS.items():
        put(name.replace("_", "-"), "a.jsonl", vendors.lines(map(write, called(name))).encode())
    put("litellm-daily", "a.jsonl", vendors.lines(rollups(CALLS)).encode())
    assert not jobs.nightly(home, max(e.day for e in CALLS), quiet).refused
    meters = ", ".join(f"sum({meter}_tokens)::bigint" for meter in METERS[:6])
    sums = f"sum(requests)::bigint, {meters}, sum(list_cost)"
    with duckdb.connect(str(home.current), read_only=True) as con:
        for format_ in everyone:
            key = "usage_date, model, operation" if format_ == "litellm_daily" else "occurred_at, model, operation, regexp_extract(event_id, '[^:/]*$')"
            select = f"select {key}, {sums} from usage_events where source = ? and event_id like ? group by all order by all"
            found = con.execute(select, [format_.replace("_", "-"), "%"]).fetchall()
            assert found == con.execute(select, ["reference", f"{format_}:%"]).fetchall(), format_
            assert sum(row[-1] is not None for row in found) > len(found) / 2, format_
    assert {*everyone, "mapped"} == {name for name, module in registry.READERS.items() if ".gateway." in module}


# --- bills ---------------------------------------------------------------------------------------------------------

MODELS = {"aws_cur": ("amazon.nova-pro-v1:0", "amazon.nova-lite-v1:0"), "gcp_billing": ("gemini-2.5-flash", "gemini-2.5-pro"),
          "azure_cost": ("gpt-4.1", "gpt-4o-2024-08-06")}  # fmt: skip
METERED = ("input_uncached", "cache_read", "output")
DAYS = (date(2026, 9, 4), date(2026, 9, 5), date(2026, 9, 7))
Made = tuple[str, bytes]  # name of a file, content


def facts(format_: str) -> list[BillLine]:
    """Three days of two models; on the sixth nothing was used."""
    found = []
    for n, (day, model, meter) in enumerate((d, m, k) for d in DAYS for m in MODELS.get(format_, ("claude-haiku-4-5", "claude-sonnet-4-5")) for k in METERED):
        cost, start = Decimal(7 * n + 1) / 100, datetime(day.year, day.month, day.day)
        found.append(
            BillLine(
                provider="google" if format_ == "gcp_billing" else "aws" if format_ in ("aws_cur", "focus") else "openai", billing_account_id="acct",
                sub_account_id="p", category="Usage", frequency="Usage-Based", description="use", service="AmazonBedrock", sku_id=None, meter=meter,
                model=model, resource_id=None, region=None, start=start, end=start + timedelta(days=1), quantity=Decimal(1000 * (n + 1)), unit="Tokens",
                per=1000, list_price=None, contracted_price=None, list_cost=cost, contracted_cost=cost, billed_cost=cost,
            )
        )  # fmt: skip
    return found


def by_day(lines: Iterable[BillLine]) -> dict[date, Decimal]:
    sums: dict[date, Decimal] = defaultdict(Decimal)
    for line in lines:
        sums[line.day] += line.billed_cost
    return sums


def by_model(lines: Iterable[BillLine]) -> dict[tuple[date, str], tuple[Decimal, int, int]]:
    """Cost, input and output."""
    sums: dict[tuple[date, str], tuple[Decimal, int, int]] = defaultdict(lambda: (Decimal(0), 0, 0))
    for line in lines:
        assert line.model and line.quantity
        cost, came, went = sums[line.day, line.model]
        output = line.meter == "output"
        sums[line.day, line.model] = (cost + line.billed_cost, came + int(not output and line.quantity), went + int(output and line.quantity))
    return sums


def _dashboard(lines: list[BillLine]) -> Made:
    rows = [
        vendors.dashboard(line.day.day, amount_value=f"{line.billed_cost}", quantity=f"{line.quantity}", quantity_unit="tokens", project_id="p",
                          line_item=f"{line.model}, {openai_costs.CLASSES[line.meter or '']}")
        for line in lines
    ] + [vendors.dashboard(6)]  # fmt: skip
    return "cost.csv", vendors.table(sorted(rows, key=lambda row: row["start_time"]), vendors.DASHBOARD).encode()


def _console(lines: list[BillLine]) -> Made:
    types = {"input_uncached": "input_no_cache", "cache_read": "input_cache_read", "output": "output"}
    rows = [
        {**vendors.CONSOLE[0], "usage_date_utc": f"{line.day}", "model": anthropic_costs.NAMES[line.model or ""],
         "token_type": types[line.meter or ""], "cost_usd": f"{line.billed_cost}", "workspace": "p"}
        for line in lines
    ]  # fmt: skip
    return "cost.csv", vendors.table(rows).encode()


def _activity(lines: list[BillLine]) -> Made:
    rows = [
        {**vendors.ACTIVITY, "date": f"{day}", "model_permaslug": model, "usage": float(cost), "prompt_tokens": came, "completion_tokens": went}
        for (day, model), (cost, came, went) in by_model(lines).items()
    ]
    return "activity.json", json.dumps({"data": rows}).encode()


def _generations(lines: list[BillLine]) -> Made:
    rows = [
        {**vendors.GENERATION, "created_at": f"{day} 23:59:59.999", "model_permaslug": model, "cost_total": f"{cost}", "tokens_prompt": f"{came}", "tokens_completion": f"{went}"}
        for (day, model), (cost, came, went) in by_model(lines).items()
    ]  # fmt: skip
    return "activity.csv", vendors.table(rows).encode()


def _deepseek(lines: list[BillLine]) -> Made:
    rows = [
        {**vendors.DEEPSEEK, "start_time_iso": f"{day}T00:00:00+08:00", "end_time_iso": f"{day + timedelta(days=1)}T00:00:00+08:00", "model": model, "cost": f"{cost}", "currency": "USD"}
        for (day, model), (cost, _, _) in by_model(lines).items()
    ]  # fmt: skip
    return "cost.csv", vendors.table(rows).encode()


def _mapped(lines: list[BillLine]) -> Made:
    rows = [
        {"Customer": "acct", "Date": f"{line.day}", "Net, EUR": f"{line.billed_cost}", "Type": "usage", "Qty": f"{line.quantity}",
         'Item "A"': line.meter or "", "Model": line.model or "", "Unit": "Tokens"}
        for line in lines
    ]  # fmt: skip
    return "bill.csv", vendors.table(rows).encode()


def _azure(line: BillLine) -> dict[str, Any]:
    words = {"input_uncached": "Inp", "cache_read": "cached Inp", "output": "Outp"}[line.meter or ""]
    name = f"{(line.model or '').replace('-2024-08-06', '-0806')} {words} glbl Tokens"
    day = f"{line.day:%m/%d/%Y}"
    return {**clouds.AZURE, "Date": day, "MeterName": name, "Quantity": f"{(line.quantity or 0) / 1000}", "CostInBillingCurrency": f"{line.billed_cost}",
            "BillingPeriodStartDate": "09/01/2026", "BillingPeriodEndDate": "09/30/2026"}  # fmt: skip


def _analytics(lines: list[BillLine]) -> Made:
    """One row for each day and combination that was asked for."""
    sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for line in lines:
        sums[line.day, line.model, line.meter, line.sub_account_id, line.long] += line.billed_cost
    rows = []
    for (day, model, meter, workspace, long), cost in sums.items():
        token_type, _ = anthropic_costs.TOKEN_TYPES.get(meter or "", (None, ""))
        group = {"model": BILLED_AS.get(model or "", model), "token_type": token_type, "workspace_id": workspace, "cost_type": "tokens",
                 "context_window": "200k-1M" if long else "0-200k"}  # fmt: skip
        rows.append({"starting_at": f"{day}T00:00:00Z", "ending_at": f"{day + timedelta(days=1)}T00:00:00Z", "group": group,
                     "cost": {"amount": f"{cost * 100:f}", "list_amount": None, "currency": "USD", "requests": None}})  # fmt: skip
    return "page.json", json.dumps({"data": rows, "has_more": False}).encode()


START, END = DAYS[0], DAYS[-1] + timedelta(days=1)
BILLS: list[tuple[str, Callable[[list[BillLine]], Made], str, bool]] = [  # format, writer, finest grain, whether it counts
    ("openai_costs", lambda lines: ("page.json", openai_costs.write_pages(lines, START, END, 1)[0]), "meter", True),
    ("anthropic_costs", lambda lines: ("page.json", anthropic_costs.write_page(lines, START, END)), "meter", False),
    ("anthropic_analytics", _analytics, "meter", False),
    ("openai_dashboard", _dashboard, "meter", True),
    ("anthropic_console", _console, "meter", False),
    ("openrouter", _activity, "model", True),
    ("openrouter", _generations, "model", True),
    ("deepseek", _deepseek, "model", False),
    ("mapped_bill", _mapped, "meter", True),
    ("focus", lambda lines: ("focus.csv", focus.write(lines, "1.0")), "meter", True),
    ("focus", lambda lines: ("focus.parquet", focus.write(lines, "1.2", "parquet")), "meter", True),
    ("aws_cur", lambda lines: ("cur.csv", clouds.csv_text(list(map(clouds.cur_row, lines))).encode()), "meter", True),
    ("azure_cost", lambda lines: ("cost.csv", clouds.csv_text(list(map(_azure, lines))).encode()), "meter", True),
    ("gcp_billing", lambda lines: ("rows.jsonl", vendors.lines(map(clouds.gcp_row, lines)).encode()), "meter", True),
    ("runpod", lambda lines: ("pods.json", json.dumps([{**vendors.POD, "time": f"{day}T00:00:00Z", "amount": float(cost)} for day, cost in by_day(lines).items()]).encode()), "day", False),
    ("databricks", lambda lines: ("usage.jsonl", vendors.lines({**vendors.DBU, "usage_date": f"{day}", "usage_quantity": f"{cost * 4}", "pricing": {"default": "0.25"}} for day, cost in by_day(lines).items()).encode()), "day", False),
]  # fmt: skip
NAMED = {billed: ours for ours, billed in BILLED_AS.items()}


@pytest.mark.parametrize(("format_", "write", "grain", "counts"), BILLS, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(BILLS)])
def test_a_bill_says_the_same_in_every_format(tmp_path: Path, format_: str, write: Callable[[list[BillLine]], Made], grain: str, counts: bool) -> None:
    lines = facts(format_)
    name, data = write(lines)
    (tmp_path / name).write_bytes(data)
    fields = {**vendors.MAPPED, "model_as_logged": "Model", "unit": "Unit"} if format_ == "mapped_bill" else None
    rows, coverage = vendors.read(format_, [tmp_path / name], fields=fields)
    keys = ("day", "model", "meter")[: ("day", "model", "meter").index(grain) + 1]
    wanted: dict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
    for line in lines:
        sums = wanted[tuple(getattr(line, key) for key in keys)]
        sums[:] = sums[0] + line.billed_cost, sums[1] + (line.quantity or 0)
    found: dict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
    for row in rows:
        if row["billed_cost"] == 0 and row["consumed_quantity"] is None:
            continue  # an allowance that costs nothing
        model = NAMED.get(row["model_as_logged"], row["model_as_logged"])
        sums = found[tuple({"day": row["usage_date"], "model": model, "meter": row["sku_meter"]}[key] for key in keys)]
        sums[:] = sums[0] + row["billed_cost"] + row["discarded_cost"], sums[1] + (row["consumed_quantity"] or 0)
        assert row["billed_cost"] == row["effective_cost"] and (not counts or row["consumed_unit"] == "Tokens")
    assert {key: sums if counts else sums[:1] for key, sums in found.items()} == {key: sums if counts else sums[:1] for key, sums in wanted.items()}
    whole = {day for _, _, day in coverage} == {None}
    assert whole or {day for _, _, day in coverage} == {DAYS[0] + timedelta(days=n) for n in range(4)}


def test_every_format_of_a_bill_is_among_them() -> None:
    assert {name for name, *_ in BILLS} == {name for name in registry.READERS if registry.find(name).kind == "billing"}


# --- usage reports -------------------------------------------------------------------------------------------------


def tokens(lines: list[BillLine]) -> dict[tuple[date, str], dict[str, int]]:
    found: dict[tuple[date, str], dict[str, int]] = defaultdict(dict)
    for line in lines:
        found[line.day, line.model or ""][line.meter or ""] = int(line.quantity or 0)
    return found


def _openai_usage(lines: list[BillLine]) -> Made:
    buckets = []
    for day in range(4, 8):
        results = [
            reports.completions(model=model, input_tokens=said["input_uncached"] + said["cache_read"], input_cached_tokens=said["cache_read"],
                                input_cache_write_tokens=0, input_uncached_tokens=said["input_uncached"], output_tokens=said["output"])
            for (used, model), said in tokens(lines).items() if used.day == day
        ]  # fmt: skip
        buckets.append(reports.bucket(day, *results))
    return "page.json", json.dumps(reports.page(*buckets)).encode()


def _anthropic_usage(lines: list[BillLine]) -> Made:
    nothing = {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0}
    days = {DAYS[0] + timedelta(days=n): [] for n in range(4)}
    for (day, model), said in tokens(lines).items():
        counts = {"uncached_input_tokens": said["input_uncached"], "cache_read_input_tokens": said["cache_read"], "output_tokens": said["output"]}
        days[day].append({**reports.MESSAGE, "model": model, "cache_creation": nothing, "server_tool_use": None, **counts})
    data = [
        {"starting_at": f"{day}T00:00:00Z", "ending_at": f"{day + timedelta(days=1)}T00:00:00Z", "results": results} for day, results in days.items()
    ]
    return "page.json", json.dumps({"data": data, "has_more": False}).encode()


def _analytics_usage(lines: list[BillLine]) -> Made:
    _, data = _anthropic_usage(lines)
    days = [(date.fromisoformat(bucket["starting_at"][:10]).day, bucket["results"]) for bucket in json.loads(data)["data"]]
    return "page.json", json.dumps({"data": [reports.counted(day, result) for day, results in days for result in results], "has_more": False}).encode()


def _anthropic_tokens(lines: list[BillLine]) -> Made:
    header, *_ = reports.TOKENS.splitlines()
    rows = [
        f"{day},{model},k,w,standard,≤ 200k,{said['input_uncached']},0,0,{said['cache_read']},{said['output']},0,global,"
        for (day, model), said in tokens(lines).items()
    ]
    return "tokens.csv", "\n".join([header, *rows, ""]).encode()


def _deepseek_amounts(lines: list[BillLine]) -> Made:
    header, *_ = reports.AMOUNTS.splitlines()
    types = {"input_uncached": "input_cache_miss_tokens", "cache_read": "input_cache_hit_tokens", "output": "output_tokens"}
    rows = [f"u,{line.day}T05:00:00+08:00,{line.day}T06:00:00+08:00,{line.model},prod,,{types[line.meter or '']},0,{line.quantity}" for line in lines]
    return "amount.csv", "\n".join([header, *rows, ""]).encode()


def _fireworks(lines: list[BillLine]) -> Made:
    header, *_ = reports.METRICS.splitlines()
    rows = [f"x,{day} 23:16:48 UTC,{day} 23:16:48 UTC,TEXT,,,{model},,,{came},{went}" for (day, model), (_, came, went) in by_model(lines).items()]
    return "metrics.csv", "\n".join([header, *rows, ""]).encode()


def _databricks_usage(lines: list[BillLine]) -> Made:
    return "usage.jsonl", vendors.lines({**vendors.DBU, "usage_date": f"{day}", "usage_quantity": f"{cost}"} for day, cost in by_day(lines).items()).encode()


USAGE: dict[str, Callable[[list[BillLine]], Made]] = {
    "openai_usage": _openai_usage,
    "anthropic_usage": _anthropic_usage,
    "anthropic_analytics_usage": _analytics_usage,
    "anthropic_tokens": _anthropic_tokens,
    "deepseek_amounts": _deepseek_amounts,
    "fireworks": _fireworks,
    "databricks_usage": _databricks_usage,
}


@pytest.mark.parametrize("format_", [name for name in registry.READERS if registry.find(name).kind == "usage"])
def test_a_usage_report_counts_the_same_in_every_format(tmp_path: Path, format_: str) -> None:
    lines = facts(format_)
    name, data = USAGE[format_](lines)
    (tmp_path / name).write_bytes(data)
    rows, coverage = reports.read(format_, [tmp_path / name])
    found: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for row in rows:
        if row["unit"] in ("Tokens", "DBU"):
            found[row["usage_date"], row["model_as_logged"], row["meter"]] += row["quantity"]
    wanted: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for line in lines:
        meter = {"fireworks": "output" if line.meter == "output" else "input", "databricks_usage": "SERVERLESS_INFERENCE, DBU"}.get(format_, line.meter)
        wanted[line.day, None if format_ == "databricks_usage" else line.model, meter] += line.billed_cost if format_ == "databricks_usage" else line.quantity or 0
    assert found == wanted
    assert {day for _, _, day in coverage} == {DAYS[0] + timedelta(days=n) for n in range(4)}


# --- the README ----------------------------------------------------------------------------------------------------


def test_every_format_has_a_row_under_its_kind() -> None:
    table = (Path(__file__).parents[2] / "README.md").read_text().split("| kind · format |")[1].split("\n\n")[0]
    rows = [line.split("|")[1].split() for line in table.splitlines() if line.startswith("| ") and "`" in line.split("|")[1]]
    assert {(name.strip("`,"), kind) for kind, *names in rows for name in names} == {(name, registry.find(name).kind) for name in registry.READERS}
