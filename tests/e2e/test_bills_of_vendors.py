"""Bills of several vendors through a whole night: each line becomes a charge or a named state, and a newer bill replaces days."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from pipelines import jobs
from pipelines.home import Home
from tests.conftest import empty_home, quiet

SOURCES = """
version: 1
billing:
  - {name: claude, format: anthropic_console, provider: anthropic, billing_account_id: anth-1, legal_entity: MAIN}
  - {name: router, format: openrouter, provider: openrouter, billing_account_id: or-1, legal_entity: MAIN}
  - {name: dbx, format: databricks, provider: databricks, legal_entity: MAIN}
  - name: hoster
    format: mapped_bill
    provider: hoster
    legal_entity: MAIN
    fields: {billing_account_id: {value: h-1}, period: Month, cost: Total, currency: {value: USD}, charge_category: {column: Kind, map: {vat: Tax}}}
"""
THROUGH = date(2026, 9, 30)
CONSOLE = """usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed,api_key_id,api_key_status
2026-09-01,Claude Haiku 4.5,Default,k,message,≤ 200k,output,0.10,0.10,token,global,,apikey_1,active
2026-09-03,Claude Haiku 4.5,Default,k,message,≤ 200k,output,0.30,0.30,token,global,,apikey_1,active
"""


def put(home: Home, name: str, text: str) -> None:
    path = home.landing / "billing" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def activity(*days: tuple[int, str]) -> str:
    base = {"model": "openai/gpt-4.1", "model_permaslug": None, "requests": 1, "prompt_tokens": 5, "completion_tokens": 7}
    return json.dumps({"data": [{**base, "date": f"2026-09-{day:02}", "usage": usage} for day, usage in days]})


def dbu(quantity: str, price: str | None, kind: str = "ORIGINAL", sku: str = "INFERENCE") -> str:
    record = {"account_id": "dbx-1", "workspace_id": "w", "sku_name": sku, "usage_date": "2026-09-05", "usage_unit": "DBU", "usage_quantity": quantity,
              "record_type": kind, "billing_origin_product": "MODEL_SERVING", "pricing": {"default": price}, "currency_code": "USD"}  # fmt: skip
    return json.dumps(record) + "\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    found = empty_home(tmp_path_factory.mktemp("bills"), SOURCES)
    put(found, "claude/1.csv", CONSOLE)
    put(found, "router/1.json", activity((1, "1.5"), (2, "2.5"), (4, "4.5")))
    put(found, "dbx/1.jsonl", "\n" + dbu("100", "0.07") + dbu("-100", "0.07", "RETRACTION") + dbu("90", "0.07", "RESTATEMENT") + dbu("5", None, sku="NEW"))
    put(found, "hoster/1.csv", "Month,Kind,Total\n2026-09,Usage,300.01\n2026-09,vat,57\n")
    jobs.nightly(found, date(2026, 9, 29), quiet)
    put(found, "router/2.json", activity((2, "2.75"), (3, "3")))  # the second restated, the third new
    put(found, "claude/2.csv", CONSOLE[: CONSOLE.index("2026-09-03")] + "2026-09-02,Claude Haiku 4.5,Default,k\n")
    report = jobs.nightly(found, THROUGH, quiet)
    assert [str(refused) for refused in report.refused if "claude/2.csv" in str(refused)]
    return found


def rows(home: Home, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_money_by_account(home: Home) -> None:
    found = dict(rows(home, "select billing_account_id, sum(billed_cost) from charges group by all"))
    assert found == {
        "anth-1": Decimal("0.40"),  # the half file is refused, and what was there stays
        "or-1": Decimal("1.5") + Decimal("2.75") + 3 + Decimal("4.5"),
        "dbx-1": 90 * Decimal("0.07"),
        "h-1": Decimal("357.01"),
    }


def test_a_month_without_days_is_spread_and_a_tax_is_not(home: Home) -> None:
    found = rows(home, "select charge_category, count(distinct usage_date), sum(billed_cost) from charges where billing_account_id = 'h-1' group by all order by 1")
    assert found == [("Tax", 1, Decimal(57)), ("Usage", 30, Decimal("300.01"))]


def test_units_without_a_price_are_a_named_state(home: Home) -> None:
    assert rows(home, "select source_row, reason from quarantine") == [(5, "no list price: a quantity is not money")]
    found = rows(home, "select amount, events from exceptions where kind = 'rejected' and what = 'billing dbx: no list price: a quantity is not money'")
    assert found == [(None, 1)]
    path = home.landing / "billing" / "dbx" / "1.jsonl"
    ((offset, length),) = rows(home, "select byte_offset, byte_length from quarantine")
    assert b'"NEW"' in path.read_bytes()[offset : offset + length]


def test_what_a_console_calls_a_model_is_the_model(home: Home) -> None:
    assert rows(home, "select distinct model, service, activity from bill_lines where billing_account_id = 'anth-1'") == [("claude-haiku-4-5", "Claude API", "inference")]
