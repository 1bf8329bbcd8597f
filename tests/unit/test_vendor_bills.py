"""Bills of model vendors and SaaS in their own formats: exact, whole, with the days they replace, and refused by name."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines.errors import Refused
from pipelines.policy.files import Billing, MappedField
from pipelines.sample import Truth
from pipelines.sample.arrivals import BillDelivery, bill_deliveries
from pipelines.sample.company import BILLED_AS
from pipelines.sample.writers import anthropic_costs as anthropic_writer
from pipelines.sample.writers import focus as focus_writer
from pipelines.sample.writers import openai_costs as openai_writer
from pipelines.sources import BILL_LINE, Delivery, registry

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "billing"
Found = dict[str, Any]
Money = dict[tuple[str, date], Decimal]


def read(format_: str, paths: Iterable[Path], **source: Any) -> tuple[list[Found], set[tuple[Any, ...]]]:
    """Rows of `parsed` and of `coverage`."""
    found = registry.find(format_)
    with duckdb.connect() as con:
        entry = SimpleNamespace(**{"billing_account_id": "acct", "time_format": None, **source})
        found.read(con, Delivery("id", "billing", "vendor", tuple(paths), 0, 0), entry)
        cursor = con.execute("select * from parsed order by source_row")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        types = dict(con.execute("select column_name, column_type from (describe parsed)").fetchall())
        assert types == {**BILL_LINE, "source_row": "BIGINT", "reject": "VARCHAR"}
        return rows, set(con.execute("from coverage").fetchall())


def one(tmp_path: Path, format_: str, name: str, text: str, **source: Any) -> tuple[list[Found], set[tuple[Any, ...]]]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read(format_, [path], **source)


def refusal(tmp_path: Path, format_: str, name: str, text: str, **source: Any) -> str:
    with pytest.raises(Refused) as error:
        one(tmp_path, format_, name, text, **source)
    assert "\n" not in str(error.value)
    return str(error.value)


def table(rows: list[dict[str, str]], header: Iterable[str] | None = None) -> str:
    text = io.StringIO()
    out = csv.DictWriter(text, list(header or rows[0]), restval="", lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()


def costs(rows: list[Found]) -> list[Decimal]:
    return [row["billed_cost"] for row in rows]


def covered(coverage: set[tuple[Any, ...]]) -> list[str]:
    return sorted(f"{day:%m-%d}" for _, _, day in coverage)


def sample(name: str) -> Path:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"no sample billing/{name} beside the checkout")
    return path


# --- hand-made files in each vendor's shape ----------------------------------------------------------------------------


def epoch(day: int) -> int:
    return int(datetime(2026, 9, day, tzinfo=UTC).timestamp())


DASHBOARD_HEADER = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,user_id,api_key_id,"
    "project_id,organization_id,project_name,organization_name,user_email,api_source"
)
DASHBOARD = DASHBOARD_HEADER.split(",")


def dashboard(day: int, **values: str) -> dict[str, str]:
    if values:
        values = {"amount_currency": "usd", "organization_id": "acct", "user_email": "someone@example.com", **values}
    return {"start_time": f"{epoch(day)}", "end_time": f"{epoch(day + 1)}", "start_time_iso": f"2026-09-{day:02}T00:00:00", **values}


OPENAI = [
    dashboard(1),
    dashboard(2, amount_value="0.003835980000000000000000000000", line_item="gpt-5, input_tokens", quantity="1.5",
              quantity_unit="1000_tokens", project_id="proj_a", api_key_id="key_1"),
    dashboard(2, amount_value="0E-6176", line_item="web search tool calls"),
    dashboard(3),
]  # fmt: skip
CONSOLE = [
    {"usage_date_utc": "2026-09-04", "model": "Claude Haiku 4.5", "workspace": "Default", "api_key": "demo", "usage_type": "message",
     "context_window": "≤ 200k", "token_type": "input_no_cache", "cost_usd": "0.05", "list_price_usd": "0.07", "cost_type": "token",
     "inference_geo": "global", "speed": "", "api_key_id": "apikey_1", "api_key_status": "archived"},
]  # fmt: skip
CONSOLE.append({**CONSOLE[0], "usage_date_utc": "2026-09-06", "model": "Our fine tune", "token_type": "", "cost_type": "web_search", "cost_usd": "-1.25", "usage_type": "batch"})  # fmt: skip
ACTIVITY = {"date": "2026-09-04", "model": "openai/gpt-4.1", "model_permaslug": "openai/gpt-4.1-2025-04-14", "usage": 0.015,
            "byok_usage_inference": 0.012, "requests": 5, "prompt_tokens": 50, "completion_tokens": 125, "reasoning_tokens": 25}  # fmt: skip
GENERATION_HEADER = (
    "generation_id created_at cost_total cost_web_search cost_cache byok_usage_inference tokens_prompt tokens_completion tokens_reasoning"
    " tokens_cached model_permaslug provider_name variant cancelled streamed user finish_reason_raw api_key_name app_name"
)
GENERATION = dict.fromkeys(GENERATION_HEADER.split(), "") | {"created_at": "2026-09-05 13:02:11.120", "cost_total": "0.00171", "cost_cache": "-0.0004", "byok_usage_inference": "9",
               "tokens_prompt": "1979", "tokens_completion": "892", "model_permaslug": "a/m", "cancelled": "false", "user": "someone@example.com",
               "api_key_name": "prod"}  # fmt: skip
DEEPSEEK = {"user_id": "u1", "start_time_iso": "2026-09-22T00:00:00+08:00", "end_time_iso": "2026-09-23T00:00:00+08:00",
            "model": "deepseek-v4", "wallet_type": "topped_up", "cost": "18.15", "currency": "CNY"}  # fmt: skip
POD = {"amount": 12.5, "diskSpaceBilledGB": 50, "gpuTypeId": "NVIDIA H100", "podId": "pod-1", "time": "2026-09-05T00:00:00Z", "timeBilledMs": 3600500}  # fmt: skip
DBU = {
    "record_id": "r1", "account_id": "acct", "workspace_id": "w1", "sku_name": "SERVERLESS_INFERENCE", "usage_date": "2026-09-05", "usage_unit": "DBU",
    "usage_quantity": "259.2958", "custom_tags": {"team": "search"}, "usage_metadata": {"endpoint_id": "e1", "endpoint_name": "llama"},
    "identity_metadata": {"run_as": "svc@acme"}, "record_type": "ORIGINAL", "billing_origin_product": "MODEL_SERVING",
    "pricing": {"default": "0.07", "effective_list": {"default": "0.0701"}}, "currency_code": "USD",
}  # fmt: skip
TRIPLE = [DBU, {**DBU, "usage_quantity": "-259.2958", "record_type": "RETRACTION"}, {**DBU, "usage_quantity": 241.1, "record_type": "RESTATEMENT"}]
MAPPED = {
    "billing_account_id": "Customer",
    "day": "Date",
    "cost": "Net, EUR",
    "currency": MappedField(value="EUR"),
    "charge_category": MappedField(column="Type", map={"usage": "Usage", "vat": "Tax"}),
    "quantity": "Qty",
    "sku_meter": 'Item "A"',
}
INVOICE = [
    {"Customer": "c-1", "Date": "2026-09-05", "Net, EUR": "10.10", "Type": "usage", "Qty": "3", 'Item "A"': "Vectors; drop table parsed"},
    {"Customer": "c-1", "Date": "2026-09-07", "Net, EUR": "1.919", "Type": "vat", "Qty": "", 'Item "A"': ""},
    {"Customer": "c-2", "Date": "2026-09-07", "Net, EUR": "-3e-2", "Type": "Credit", "Qty": "", 'Item "A"': ""},
]


def lines(records: Iterable[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


ANALYTICS = {  # one row of the analytics cost report
    "starting_at": "2026-09-01T00:00:00Z", "ending_at": "2026-09-02T00:00:00Z",
    "group": {"model": "claude-sonnet-4-5-20250929", "workspace_id": "wrkspc_a", "api_key_id": "apikey_1", "cost_type": "tokens", "token_type": "output_tokens",
              "inference_geo": "global", "actor": None, "claude_tag_user": None},
    "cost": {"amount": "123.78912", "list_amount": "130", "currency": "USD", "requests": None},
}  # fmt: skip


def analytics(*rows: dict[str, Any], more: bool = False) -> str:
    return json.dumps({"data": rows, "has_more": more, "next_page": "p2" if more else None, "data_refreshed_at": "2026-10-03T04:00:00Z"})


def analytics_row(day: int, amount: str, **group: Any) -> dict[str, Any]:
    times = {"starting_at": f"2026-09-{day:02}T00:00:00Z", "ending_at": f"2026-09-{day + 1:02}T00:00:00Z"}
    return {**ANALYTICS, **times, "group": {**ANALYTICS["group"], **group}, "cost": {**ANALYTICS["cost"], "amount": amount}}


FILES: dict[str, tuple[str, str, str, dict[str, Any]]] = {  # name -> format, file, content, what sources.yaml says more
    "openai": ("openai_dashboard", "cost.csv", table(OPENAI, DASHBOARD), {}),
    "console": ("anthropic_console", "cost.csv", table(CONSOLE), {}),
    "analytics": ("anthropic_analytics", "page.json", analytics(ANALYTICS, analytics_row(3, "0.5", cost_type="web_search", token_type=None, model=None)), {}),
    "activity": ("openrouter", "activity.json", json.dumps({"data": [ACTIVITY, {**ACTIVITY, "date": "2026-09-07"}]}), {}),
    "generations": ("openrouter", "activity.csv", table([GENERATION, {**GENERATION, "cost_total": "0", "cancelled": "true"}]), {}),
    "deepseek": ("deepseek", "cost-1.csv", table([DEEPSEEK, {**DEEPSEEK, "wallet_type": "granted", "cost": "0.000000000000001"}]), {}),
    "runpod": ("runpod", "pods.json", json.dumps([POD, {**POD, "amount": 1e-7}]), {}),
    "databricks": ("databricks", "usage.jsonl", lines(TRIPLE), {}),
    "mapped": ("mapped_bill", "bill.csv", table(INVOICE), {"fields": MAPPED}),
}


def read_one(tmp_path: Path, name: str) -> tuple[list[Found], set[tuple[Any, ...]]]:
    format_, file, text, source = FILES[name]
    return one(tmp_path, format_, file, text, **source)


def refuse_one(tmp_path: Path, name: str, old: str, new: str) -> str:
    format_, file, text, source = FILES[name]
    assert old in text
    return refusal(tmp_path, format_, file, text.replace(old, new), **source)


def test_anthropic_analytics(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "analytics")
    assert costs(rows) == [Decimal("1.2378912"), Decimal("0.005")]
    assert [(row["list_cost"], row["sku_meter"], row["api_key_id"], row["sub_account_id"]) for row in rows] == [
        (Decimal("1.3"), "output", "apikey_1", "wrkspc_a"), (Decimal("1.3"), "web_search", "apikey_1", "wrkspc_a"),
    ]  # fmt: skip
    assert covered(coverage) == ["09-01", "09-02", "09-03"]  # a day without cost has no row


def test_anthropic_analytics_of_people_or_half_a_set_is_refused(tmp_path: Path) -> None:
    def said(*rows: dict[str, Any], more: bool = False) -> str:
        return refusal(tmp_path, "anthropic_analytics", "page.json", analytics(*rows, more=more))

    assert "groups overlap" in said(analytics_row(1, "1", rbac_group_id="group-a"))
    assert "leaves some out" in said(analytics_row(1, "1", claude_tag_user="someone"))
    assert "the same day and group" in said(ANALYTICS, analytics_row(2, "1"), ANALYTICS)
    assert "0 pages say that they are the last" in said(ANALYTICS, more=True)
    assert "not one UTC day" in said({**ANALYTICS, "ending_at": "2026-09-03T00:00:00Z"})
    assert "amount is not an amount" in said(analytics_row(1, "1.2.3"))
    assert "without its times" in said({**ANALYTICS, "starting_at": None})
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text(analytics(analytics_row(2, "1"), more=True))
    second.write_text(analytics(analytics_row(1, "2")))
    rows, coverage = read("anthropic_analytics", [first, second])
    assert sorted(costs(rows)) == [Decimal("0.01"), Decimal("0.02")] and covered(coverage) == ["09-01", "09-02"]


def test_openai_dashboard(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "openai")
    assert costs(rows) == [Decimal("0.00383598"), 0]
    assert [(row["model_as_logged"], row["sku_meter"]) for row in rows] == [("gpt-5", "input_uncached"), (None, "web search tool calls")]
    assert (rows[0]["consumed_quantity"], rows[0]["consumed_unit"]) == (1500, "Tokens")
    assert (rows[0]["sub_account_id"], rows[0]["api_key_id"], rows[0]["billing_currency"]) == ("proj_a", "key_1", "USD")
    assert covered(coverage) == ["09-01", "09-02", "09-03"]
    assert "@" not in str(rows)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("amount_value", "amount", "column amount_value is missing"),
        ("start_time,end_time", "start,end", "column start_time is missing (and end_time)"),
        (f"{epoch(3)},{epoch(4)}", f"{epoch(4)},{epoch(5)}", "the day after 2026-09-02 is 2026-09-04"),
        (f"{epoch(3)},{epoch(4)}", f"{epoch(3)},{epoch(5)}", "record 4: a bucket that is not one UTC day"),
        (f"{epoch(3)},{epoch(4)}", f"{epoch(3)},later", "epoch seconds"),
        ("0E-6176", "", "record 3: amount.value is missing"),
        ("0E-6176", "1e400", "amount.value is not an amount"),
        ("0E-6176", "NaN", "amount.value is not an amount"),
        (",usd,", ",usdx,", "unknown currency"),
        ("acct", "org-2", "another organization"),
    ],
)
def test_openai_dashboard_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert words in refuse_one(tmp_path, "openai", old, new)


def test_anthropic_console(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "console")
    assert [(row["billed_cost"], row["list_cost"]) for row in rows] == [(Decimal("0.05"), Decimal("0.07")), (Decimal("-1.25"), Decimal("0.07"))]
    assert [(row["model_as_logged"], row["sku_meter"], row["service_tier"]) for row in rows] == [
        ("claude-haiku-4-5", "input_uncached", None),
        ("Our fine tune", "web_search", "batch"),
    ]
    assert covered(coverage) == ["09-04", "09-05", "09-06"]  # nothing was used on the fifth
    for old, new, words in (("0.05", "5 cents", "record 1: cost_usd is not a number: 5 cents"), ("2026-09-06", "06/09/2026", "usage_date_utc is not a day"), ("cost_usd", "cost", "column cost_usd is missing")):  # fmt: skip
        assert words in refuse_one(tmp_path, "console", old, new)


def test_openrouter(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "activity")
    assert costs(rows) == [Decimal("0.015")] * 2  # what BYOK cost elsewhere is not added
    assert {(row["model_as_logged"], row["consumed_quantity"], row["billing_currency"]) for row in rows} == {("openai/gpt-4.1-2025-04-14", 175, "USD")}
    assert covered(coverage) == ["09-04", "09-05", "09-06", "09-07"]
    rows, coverage = read_one(tmp_path, "generations")
    assert costs(rows) == [Decimal("0.00171"), 0]
    assert [row["charge_description"] for row in rows] == ["generation", "cancelled generation"]
    assert "@" not in str(rows) and covered(coverage) == ["09-05"]
    for name, old, new, words in (
        ("activity", '"usage": 0.015', '"cost": 0.015', "record 1: usage is missing"),
        ("activity", '"usage": 0.015', '"usage": {"usd": 1}', "usage is not a plain value"),
        ("activity", '"usage": 0.015', '"usage": NaN', "not JSON"),
        ("activity", '"usage": 0.015', '"usage": 1e400', "usage is not a number"),
        ("activity", '"prompt_tokens": 50', '"prompt_tokens": -50', "a number of tokens that is not one"),
        ("activity", '"data"', '"items"', "not a list under data"),
        ("generations", "2026-09-05 13", "yesterday 13", "created_at is not a day"),
    ):
        assert words in refuse_one(tmp_path, name, old, new)


def test_deepseek(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "deepseek")
    assert costs(rows) == [Decimal("18.15"), 0] and rows[1]["discarded_cost"] == Decimal("1e-15")
    assert {(row["billing_currency"], row["usage_date"]) for row in rows} == {("CNY", date(2026, 9, 22))}
    assert [row["charge_description"] for row in rows] == ["deepseek-v4, topped_up", "deepseek-v4, granted"]
    assert covered(coverage) == ["09-22"]
    for old, new, words in (
        ("2026-09-23T00", "2026-10-01T00", "not within one day"),
        ("2026-09-22T00:00:00+08:00", "soon", "start_time_iso"),
        ("CNY", "RMB", "unknown currency: RMB"),
        ("CNY", "", "currency is empty"),
    ):
        assert words in refuse_one(tmp_path, "deepseek", old, new)


def test_runpod(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "runpod")
    assert costs(rows) == [Decimal("12.5"), Decimal("1e-7")]
    assert (rows[0]["resource_id"], rows[0]["sku_id"], rows[0]["consumed_quantity"]) == ("pod-1", "NVIDIA H100", Decimal("3600.5"))
    assert covered(coverage) == ["09-05"]
    for old, new, words in (
        ("3600500", "90000000", "ask for daily or hourly buckets"),
        ("3600500", '"soon"', "timeBilledMs is not"),
        ('"time"', '"at"', "time is missing"),
        ("12.5", "null", "amount is empty"),
    ):
        assert words in refuse_one(tmp_path, "runpod", old, new)


def test_databricks_adds_up_all_record_types(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "databricks")
    exact = Decimal("241.1") * Decimal("0.0701")
    assert sum(row["billed_cost"] + row["discarded_cost"] for row in rows) == exact
    assert sum(row["consumed_quantity"] for row in rows) == Decimal("241.1")
    assert {(row["resource_id"], row["service"], row["sub_account_id"]) for row in rows} == {("e1", "MODEL_SERVING", "w1")}
    assert "@" not in str(rows) and covered(coverage) == ["09-05"]
    by_ingestion = lines(TRIPLE[1:])
    assert "takes back usage that the file does not hold" in refusal(tmp_path, "databricks", "usage.jsonl", by_ingestion)
    for old, new, words in (
        ('"ORIGINAL"', '"DRAFT"', "record 1: unknown record_type"),
        ('"259.2958"', '"NaN"', "usage_quantity is not a number"),
        ('"0.0701"', '"cheap"', "price is not a number: cheap"),
        ('"currency_code": "USD"', '"currency_code": null', "currency_code is empty"),
        ('"account_id": "acct"', '"account_id": "other"', "another account"),
    ):
        assert words in refuse_one(tmp_path, "databricks", old, new)


def test_databricks_units_without_a_price_are_not_money(tmp_path: Path) -> None:
    bare = {key: value for key, value in DBU.items() if key not in ("pricing", "currency_code")}
    rows, _ = one(tmp_path, "databricks", "usage.jsonl", lines([bare, {**DBU, "sku_name": "OTHER"}]))
    assert [row["reject"] for row in rows] == ["no list price: a quantity is not money", None]


def test_mapped_bill(tmp_path: Path) -> None:
    rows, coverage = read_one(tmp_path, "mapped")
    assert costs(rows) == [Decimal("10.10"), Decimal("1.919"), Decimal("-0.03")]
    assert [(row["charge_category"], row["billing_currency"]) for row in rows] == [("Usage", "EUR"), ("Tax", "EUR"), ("Credit", "EUR")]
    assert rows[0]["sku_meter"] == "Vectors; drop table parsed"
    assert {(account, f"{day:%m-%d}") for account, _, day in coverage} == {("c-1", "09-05"), ("c-1", "09-06"), ("c-1", "09-07"), ("c-2", "09-07")}
    for old, new, words in (
        ("10.10", "10,10", "CSV"),
        ("10.10", "€10.10", "record 1: Net, EUR is not a number: €10.10"),
        ("10.10", "what is my salary", "record 1: Net, EUR is not a number: 17 characters"),
        ("Date", "Day", "column Date is missing"),
        ("2026-09-05", "0026-09-05", "Date is not a day: 0026-09-05"),
        ("2026-09-05", "infinity", "Date is not a day: infinity"),
        ("2026-09-05", "2026-09-31", "Date is not a day"),
        ("vat", "discount", "Type: unknown category: discount"),
        ("c-2", "", "record 3: Customer is empty"),
    ):
        assert words in refuse_one(tmp_path, "mapped", old, new)


def test_mapped_months_and_other_ways_to_write_days(tmp_path: Path) -> None:
    fields = {"billing_account_id": MappedField(value="a"), "period": "Month", "cost": "Cost", "currency": "Currency", "invoice_id": "No"}
    text = "Month,Cost,Currency,No\n09/2026,31,chf,R-1\n"
    rows, coverage = one(tmp_path, "mapped_bill", "bill.csv", text, fields=fields, time_format="%m/%Y")
    assert coverage == {("a", "2026-09", None)}
    row = rows[0]
    assert (row["charge_period_start"], row["charge_period_end"]) == (datetime(2026, 9, 1), datetime(2026, 10, 1))
    assert (row["charge_frequency"], row["billing_currency"], row["invoice_id"]) == ("Recurring", "CHF", "R-1")
    assert "Month is not a month: 2026-13" in refusal(tmp_path, "mapped_bill", "bill.csv", text.replace("09/2026", "2026-13"), fields=fields)
    days = {**{name: fields[name] for name in ("billing_account_id", "cost", "currency")}, "day": "Month"}
    (row,), coverage = one(tmp_path, "mapped_bill", "bill.csv", text.replace("09/2026", "05.09.2026"), fields=days, time_format="%d.%m.%Y")
    assert (row["usage_date"], row["charge_frequency"], covered(coverage)) == (date(2026, 9, 5), "Usage-Based", ["09-05"])


def test_a_number_that_may_be_cut_off_is_refused(tmp_path: Path) -> None:
    fields = {"billing_account_id": MappedField(value="a"), "day": "Day", "cost": "Cost", "currency": MappedField(value="EUR")}
    for text, good in (("Day,Cost\n2026-09-05,1000\n", True), ("Day,Cost\r\n2026-09-05,1000\r\n", True), ("Day,Cost\n2026-09-05,10", False), ("Cost,Day\n1000,2026-09-05", True)):  # fmt: skip
        if good:
            assert costs(one(tmp_path, "mapped_bill", "bill.csv", text, fields=fields)[0]) == [1000]
        else:
            assert "the last line does not end" in refusal(tmp_path, "mapped_bill", "bill.csv", text, fields=fields)


@pytest.mark.parametrize("secret", ["sk-or-v1-0123456789", "hf_AbCdEfGhIjKlMnOpQrSt", "dapi0123456789abcdef", "bearer abc", "eyJhbGciOiJIUzI1NiJ9.e30.x"])
def test_a_secret_key_is_kept_as_its_hash(tmp_path: Path, secret: str) -> None:
    keyed = {("api_key_id" if name == "sku_meter" else name): column for name, column in MAPPED.items()}
    for name, old in (("generations", "prod"), ("mapped", "Vectors; drop table parsed")):
        format_, file, text, _ = FILES[name]
        rows, _ = one(tmp_path, format_, file, text.replace(old, secret), fields=keyed)
        assert secret not in str(rows) and rows[0]["api_key_id"] == hashlib.sha256(secret.encode()).hexdigest()


def test_a_field_map_is_a_policy() -> None:
    with pytest.raises(ValueError, match="needs `fields`"):
        Billing(name="x", format="mapped_bill", provider="x", legal_entity="E")
    with pytest.raises(ValueError, match="needs `fields`"):
        Billing(name="x", format="focus", provider="x", legal_entity="E", fields={"cost": "c"})


# --- the same bill in another format is the same money -----------------------------------------------------------------


def deliveries(provider: str) -> list[BillDelivery]:
    return [delivery for delivery in bill_deliveries(Truth.make(scale=0.02)) if delivery.provider == provider]


def money(rows: list[Found]) -> Money:
    found: Money = defaultdict(Decimal)
    for row in rows:
        found[row["billing_account_id"], row["usage_date"]] += row["billed_cost"] + row["discarded_cost"]
    return {key: amount for key, amount in found.items() if amount}


def as_dashboard(delivery: BillDelivery) -> str:
    rows = []
    day = delivery.start
    while day < delivery.end:
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        times = {"start_time": f"{start}", "end_time": f"{start + 86_400}"}
        of_day = [line for line in delivery.lines if line.day == day]
        rows += [
            {
                **times, "amount_value": f"{line.billed_cost:.30f}", "amount_currency": "usd", "quantity": f"{line.quantity}", "quantity_unit": "tokens",
                "line_item": f"{BILLED_AS.get(line.model or '', line.model)}, {openai_writer.CLASSES[line.meter or '']}",
                "project_id": line.sub_account_id, "organization_id": line.billing_account_id,
            }
            for line in of_day
        ] or [times]  # fmt: skip
        day += timedelta(days=1)
    return table(rows, DASHBOARD)


def test_round_trip_openai(tmp_path: Path) -> None:
    for delivery in deliveries("openai"):
        pages = [tmp_path / f"{n}.json" for n in range(2)]
        for path, page in zip(pages, openai_writer.write_pages(delivery.lines, delivery.start, delivery.end, 2), strict=True):
            path.write_bytes(page)
        expected, days = read("openai_costs", pages, billing_account_id="org-larkfield")
        rows, coverage = one(tmp_path, "openai_dashboard", "cost.csv", as_dashboard(delivery), billing_account_id="org-larkfield")
        assert money(rows) == money(expected) and coverage == days
        assert {(r["model_as_logged"], r["sku_meter"]) for r in rows} <= {(r["model_as_logged"], r["sku_meter"]) for r in expected}


def as_console(delivery: BillDelivery) -> str:
    types = {"input_uncached": "input_no_cache", "cache_read": "input_cache_read", "cache_write_5m": "input_cache_write_5m",
             "cache_write_1h": "input_cache_write_1h", "output": "output"}  # fmt: skip
    return table(
        [
            {
                **CONSOLE[0], "usage_date_utc": f"{line.day}", "model": anthropic_writer.NAMES[line.model or ""], "workspace": line.sub_account_id or "Default",
                "token_type": types[line.meter or ""], "cost_usd": f"{line.billed_cost:f}", "list_price_usd": f"{line.list_cost:f}",
            }
            for line in delivery.lines
        ]
    )  # fmt: skip


def test_round_trip_anthropic(tmp_path: Path) -> None:
    for delivery in deliveries("anthropic"):
        path = tmp_path / "cost_report.json"
        path.write_bytes(anthropic_writer.write_page(delivery.lines, delivery.start, delivery.end))
        expected, _ = read("anthropic_costs", [path], billing_account_id="lark-anthropic")
        rows, coverage = one(tmp_path, "anthropic_console", "cost.csv", as_console(delivery), billing_account_id="lark-anthropic")
        assert money(rows) == money(expected)
        assert {row["sku_meter"] for row in rows} == {row["sku_meter"] for row in expected}
        assert {day for _, _, day in coverage} >= {row["usage_date"] for row in rows}


def amounts(delivery: BillDelivery) -> list[tuple[Any, Decimal]]:
    return [(line, line.billed_cost) for line in delivery.lines if line.model]


def as_openrouter(delivery: BillDelivery) -> str:
    data = [{**ACTIVITY, "date": f"{line.day}", "model": line.model, "model_permaslug": line.model, "usage": f"@{cost:f}@"} for line, cost in amounts(delivery)]
    return json.dumps({"data": data}).replace('"@', "").replace('@"', "")  # bare JSON numbers with all their digits


def as_generations(delivery: BillDelivery) -> str:
    return table([{**GENERATION, "created_at": f"{line.day} 12:00:00.000", "cost_total": f"{cost:f}", "model_permaslug": line.model} for line, cost in amounts(delivery)])


def as_deepseek(delivery: BillDelivery) -> str:
    return table(
        [
            {**DEEPSEEK, "start_time_iso": f"{line.day}T00:00:00+08:00", "end_time_iso": f"{line.day + timedelta(days=1)}T00:00:00+08:00",
             "model": line.model, "cost": f"{cost:f}", "currency": "USD"}
            for line, cost in amounts(delivery)
        ]
    )  # fmt: skip


def as_runpod(delivery: BillDelivery) -> str:
    return json.dumps([{**POD, "time": f"{line.day}T00:00:00Z", "amount": f"{cost:f}"} for line, cost in amounts(delivery)])


def as_databricks(delivery: BillDelivery) -> str:
    return lines(
        {**DBU, "account_id": line.billing_account_id, "usage_date": f"{line.day}", "usage_quantity": f"{line.quantity}",
         "pricing": {"default": f"{line.contracted_price / line.per:f}"}}
        for line, _ in amounts(delivery)
    )  # fmt: skip


def as_mapped(delivery: BillDelivery) -> str:
    return table([{**INVOICE[0], "Customer": line.billing_account_id, "Date": f"{line.day}", "Net, EUR": f"{cost:f}"} for line, cost in amounts(delivery)])


@pytest.mark.parametrize(
    ("format_", "file", "write"),
    [
        ("openrouter", "a.json", as_openrouter), ("openrouter", "a.csv", as_generations), ("deepseek", "a.csv", as_deepseek),
        ("runpod", "a.json", as_runpod), ("databricks", "a.jsonl", as_databricks), ("mapped_bill", "a.csv", as_mapped),
    ],
)  # fmt: skip
def test_round_trip_of_the_small_formats(tmp_path: Path, format_: str, file: str, write: Any) -> None:
    """Token lines of the sample's Google bill, as FOCUS and as each vendor would write them."""
    delivery = deliveries("google")[-1]
    path = tmp_path / "focus.csv"
    path.write_bytes(focus_writer.write([line for line, _ in amounts(delivery)], "1.2"))
    expected, _ = read("focus", [path], billing_account_id=None)
    rows, _ = one(tmp_path, format_, file, write(delivery), billing_account_id="01A2B3-LARK", fields=MAPPED)
    assert money(rows) == money(expected) and len(money(rows)) > 20


# --- hostile files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_refused_or_read_right(tmp_path: Path, name: str) -> None:
    format_, file, text, source = FILES[name]
    whole = costs(read_one(tmp_path, name)[0])
    data = text.encode()
    path = tmp_path / f"cut-{file}"
    for offset in [*range(0, len(data), 50), len(data) - 1]:
        path.write_bytes(data[:offset])
        try:
            rows, _ = read(format_, [path], **source)
        except Refused as refused:
            assert "\n" not in str(refused)
        else:  # a prefix of whole lines: no line in it is lost or changed
            assert costs(rows) == whole[: len(rows)]
            if file.endswith("csv") and name != "openai":
                assert len(rows) == data[:offset].rstrip(b"\n").count(b"\n")  # under the header


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", ["\u202eevil\u202c", "é" * 400, "a\u0301\u200b🙂", "'; drop table parsed; --", "=1+1", "\ufeff", "%s {0} $x"])
def test_hostile_text_is_only_text(tmp_path: Path, name: str, text: str) -> None:
    format_, file, content, source = FILES[name]
    old = {"openai": "proj_a", "console": "Default", "activity": "openai/gpt-4.1-2025-04-14", "generations": "a/m", "deepseek": "deepseek-v4",
           "runpod": "pod-1", "databricks": "MODEL_SERVING", "mapped": "Vectors; drop table parsed", "analytics": "wrkspc_a"}[name]  # fmt: skip
    assert old in content
    rows, _ = one(tmp_path, format_, file, content.replace(old, text), **source)
    assert costs(rows) == costs(read_one(tmp_path, name)[0])


@pytest.mark.parametrize("name", FILES)
def test_a_byte_order_mark_and_bytes_that_are_no_text(tmp_path: Path, name: str) -> None:
    format_, file, content, source = FILES[name]
    assert costs(one(tmp_path, format_, file, "\ufeff" + content, **source)[0]) == costs(read_one(tmp_path, name)[0])
    path = tmp_path / file
    middle = content.index("2026-09") if "2026-09" in content else 0
    path.write_bytes(content[:middle].encode() + b"\xff\xfe" + content[middle:].encode())
    with pytest.raises(Refused):
        read(format_, [path], **source)


@pytest.mark.parametrize("name", ["activity", "runpod", "databricks"])
def test_half_a_surrogate_pair_and_deep_nesting_are_refused(tmp_path: Path, name: str) -> None:
    for hostile in (r'"\ud800"', "[" * 100_000):
        assert "JSON" in refuse_one(tmp_path, name, '"2026-09-05T00:00:00Z"' if name == "runpod" else '"2026-09-05"' if name == "databricks" else '"2026-09-04"', hostile)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "amount"),
    [("openai", "0.003835980000000000000000000000"), ("console", "0.05"), ("generations", "0.00171"), ("deepseek", "18.15"), ("mapped", "10.10")],
)
def test_amounts_that_are_none(tmp_path: Path, name: str, amount: str) -> None:
    format_, file, content, source = FILES[name]
    for bad in ("NaN", "1e400", "-inf", "0x10", "1_000", "١٢", "1e", "--1", "1 000", "12.3.4", "9" * 40):
        assert "not a" in refuse_one(tmp_path, name, amount, bad)
    rows, _ = one(tmp_path, format_, file, content.replace(amount, "-7.000000000001"), **source)
    assert costs(rows)[0] == Decimal("-7.000000000001")


# --- the vendors' own samples --------------------------------------------------------------------------------------------


def test_published_samples() -> None:
    rows, coverage = read("openai_dashboard", [sample("openai/dashboard_cost_export.csv")], billing_account_id="org-fixture")
    assert sum(costs(rows)) == Decimal("0.50383598") and covered(coverage) == ["09-27", "09-28"]
    assert "@" not in str(rows)
    rows, _ = read("anthropic_console", [sample("anthropic/console_cost_export.csv")])
    assert sum(costs(rows)) == Decimal("0.47") and {row["model_as_logged"] for row in rows} == {"claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"}
    assert costs(read("openrouter", [sample("saas/openrouter_activity.json")])[0]) == [Decimal("0.015")]
    assert costs(read("openrouter", [sample("saas/openrouter_activity_export.csv")])[0]) == [Decimal("0.00171"), 0]
    assert costs(read("deepseek", [sample("saas/deepseek_cost.csv")])[0]) == [Decimal("18.15")]
    assert costs(read("runpod", [sample("saas/runpod_billing_pods.json")])[0]) == [Decimal("12.5")]
    rows, _ = read("databricks", [sample("saas/databricks_billing_usage.jsonl")], billing_account_id=None)
    assert {row["reject"] for row in rows} == {"no list price: a quantity is not money"}
    with pytest.raises(Refused):
        read("openrouter", [sample("saas/pinecone_cost_usage_export_job.json")])  # the state of an export job, not a bill
