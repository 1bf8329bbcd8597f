"""Fields of bills and reports that nobody reads are counted, whatever the form of the file; nothing of them is kept."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipelines import landing
from pipelines.home import Home
from pipelines.policy.files import Sources
from pipelines.sources import KINDS
from pipelines.warehouse import memory
from tests.unit.test_landing_gateways import Seen

SAID = "what somebody asked"
DAY = {"starting_at": "2026-10-01T00:00:00Z", "ending_at": "2026-10-02T00:00:00Z"}
OPENAI_DAY = {"start_time": 1790812800, "end_time": 1790899200}


def page(results: list[dict[str, Any]], **bucket: Any) -> str:
    return json.dumps({"data": [{**bucket, "results": results}], "has_more": False})


def twice(known: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [known, known | more]


COST = {"amount": {"value": 1, "currency": "usd"}, "line_item": "gpt-5, output", "project_id": "p"}
USED = {"object": "organization.usage.completions.result", "input_tokens": 1, "output_tokens": 1, "num_model_requests": 1}
CLAUDE = {"currency": "USD", "amount": "1", "model": "claude", "token_type": "output_tokens", "cost_type": "tokens"}
ANALYTICS = {**DAY, "cost": {"amount": "1", "list_amount": "1", "currency": "USD"}, "group": {"model": "claude"}}
COUNTED = {
    "uncached_input_tokens": 1, "cache_read_input_tokens": 0, "output_tokens": 1,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}  # fmt: skip
ROUTED = {"date": "2026-10-01", "model": "m", "model_permaslug": "m", "usage": 1, "requests": 1, "prompt_tokens": 1, "completion_tokens": 1}
POD = {"amount": 1, "podId": "p", "gpuTypeId": "H100", "time": "2026-10-01T00:00:00Z", "timeBilledMs": 1000}
DBU = {
    "account_id": "a", "workspace_id": "w", "sku_name": "s", "usage_date": "2026-10-01", "usage_unit": "DBU", "usage_quantity": 1,
    "record_type": "ORIGINAL", "billing_origin_product": "MODEL_SERVING", "usage_metadata": {"endpoint_id": "e"},
}  # fmt: skip
GOOGLE = {
    "billing_account_id": "a", "invoice": {"month": "202610"}, "cost": "1", "currency": "USD", "usage_start_time": "2026-10-01 12:00:00 UTC",
    "usage_end_time": "2026-10-01 13:00:00 UTC", "service": {"description": "Vertex AI"}, "sku": {"description": "x"}, "cost_type": "regular",
    "credits": [],
}  # fmt: skip
HELD = {
    "name": "c/n/p", "start": "2026-10-01T00:00:00Z", "end": "2026-10-02T00:00:00Z", "gpuHours": 24, "gpuCount": 1, "window": {"start": "2026-10-01T00:00:00Z"},
    "properties": {"pod": "p"},
}  # fmt: skip

SEEN = {
    "id": "o", "type": "GENERATION", "start_time": "2026-10-01 12:00:00", "usage_details": {"input": 1}, "provided_model_name": "m", "input": SAID,
}  # fmt: skip

FILES = [  # kind, format, name, text, names that are not read, records that have some
    ("billing", "openai_costs", "a.json", page(twice(COST, note=SAID, amount={"value": 1, "currency": "usd", "of": SAID}), **OPENAI_DAY), 2, 1),
    ("usage", "openai_usage", "a.json", page(twice(USED, user_id="u"), **OPENAI_DAY), 1, 1),
    ("billing", "anthropic_costs", "a.json", page(twice(CLAUDE, prompt=SAID), **DAY), 1, 1),
    ("usage", "anthropic_usage", "a.json", page(twice(COUNTED, prompt=SAID, server_tool_use={"code_requests": 1}), **DAY), 2, 1),
    ("billing", "anthropic_analytics", "a.json", json.dumps({"data": [ANALYTICS | {"group": {"model": "claude", "email": SAID}}]}), 1, 1),
    ("billing", "openrouter", "a.json", json.dumps({"data": twice(ROUTED, prompt=SAID)}), 1, 1),
    ("billing", "runpod", "a.json", json.dumps(twice(POD, prompt=SAID)), 1, 1),
    ("usage", "databricks_usage", "a.jsonl", "\n".join(map(json.dumps, twice(DBU, identity_metadata={"run_as": SAID}))), 1, 1),
    ("billing", "gcp_billing", "a.jsonl", "\n".join(map(json.dumps, twice(GOOGLE, labels=[], invoice={"month": "202610", "x": 1}))), 2, 1),
    ("gpu", "opencost", "a.json", json.dumps({"code": 200, "data": [{"one": HELD, "two": HELD | {"name": "q", "labels": {"x": SAID}}}]}), 1, 1),
    ("gateway", "langfuse", "a.json", json.dumps([SEEN, {**SEEN, "id": "p", "output": SAID}]), 2, 2),
    ("fx", "fx_csv", "a.csv", f"period,currency,rate,rate_source,note\n2026-10,EUR,1,bank,{SAID}\n2026-10,GBP,1,bank,\n", 1, 2),
    ("outcomes", "outcomes_csv", "a.csv", f"period,metric,quantity,note\n2026-10,tickets,1,{SAID}\n", 1, 1),
    ("outcomes", "outcomes_csv", "a.csv", "period,metric,quantity\n2026-10,tickets,1\n", 0, 0),
]  # fmt: skip


@pytest.mark.parametrize("kind, form, name, text, names, records", FILES, ids=[f"{n}-{row[1]}" for n, row in enumerate(FILES)])
def test_what_nobody_reads_is_counted_and_not_kept(
    tmp_path: Path, kind: str, form: str, name: str, text: str, names: int, records: int
) -> None:
    folder = tmp_path / "data" / "landing" / kind / "s"
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    entry = {"name": "s", "format": form}
    entry |= {"provider": "openai"} if kind in ("billing", "usage") else {"cluster": "c"} if kind == "gpu" else {}
    entry |= {"legal_entity": "e"} if kind == "billing" else {}
    entry |= {"billing_account_id": "a"} if kind in ("billing", "usage") else {}
    sources = Sources(version=1, **{KINDS[kind]: [entry]})
    with memory() as con:
        report = landing.land(con, Home(tmp_path), sources, date(2026, 10, 4), Seen(), lambda _: None)  # type: ignore[arg-type]
        assert not report.refused and report.good > 0
        assert con.execute("select ignored_fields, ignored_lines from source_files").fetchall() == [(names, records)]
        kept = con.execute("select * from read_parquet(?)", [f"{tmp_path}/data/lake/**/*.parquet"]).fetchall()
        assert kept and SAID not in repr(kept) + repr(con.execute("from source_files").fetchall())
