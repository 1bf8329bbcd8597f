"""Usage reports of vendors: meters that do not overlap, days that are covered, nothing about people, and nothing that is money."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines.errors import Refused
from pipelines.sources import PROVIDER_USAGE, Delivery, registry

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "billing"
Found = dict[str, Any]


def read(format_: str, paths: Iterable[Path], account: str | None = "acct") -> tuple[list[Found], set[tuple[Any, ...]]]:
    """Rows of `parsed` and of `coverage`."""
    found = registry.find(format_)
    assert found.kind == "usage"
    with duckdb.connect() as con:
        found.read(con, Delivery("id", "usage", "vendor", tuple(paths), 0, 0), SimpleNamespace(billing_account_id=account))
        cursor = con.execute("select * from parsed order by source_row, meter")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        types = dict(con.execute("select column_name, column_type from (describe parsed)").fetchall())
        assert types == {**PROVIDER_USAGE, "source_row": "BIGINT", "reject": "VARCHAR"}
        assert all(row["reject"] is None and row["quantity"] != 0 for row in rows)
        return rows, set(con.execute("from coverage").fetchall())


def one(tmp_path: Path, format_: str, name: str, content: Any) -> tuple[list[Found], set[tuple[Any, ...]]]:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read(format_, [path])


def refusal(tmp_path: Path, format_: str, name: str, content: Any) -> str:
    with pytest.raises(Refused) as error:
        one(tmp_path, format_, name, content)
    assert "\n" not in str(error.value)
    return str(error.value)


def meters(rows: list[Found]) -> dict[str, Decimal]:
    assert len({row["meter"] for row in rows}) == len(rows)
    return {row["meter"]: row["quantity"] for row in rows}


def page(*buckets: Found, has_more: bool = False) -> Found:
    return {"object": "page", "data": list(buckets), "has_more": has_more}


def bucket(day: int, *results: Found) -> Found:
    start = int(datetime(2026, 9, day, tzinfo=UTC).timestamp())
    return {"start_time": start, "end_time": start + 86_400, "results": list(results)}


def completions(**changes: Any) -> Found:
    return {
        "object": "organization.usage.completions.result", "input_tokens": 1000, "input_cached_tokens": 400, "input_cache_write_tokens": 100,
        "input_uncached_tokens": 500, "output_tokens": 500, "num_model_requests": 5, "project_id": "proj_a", "user_id": "user-1",
        "api_key_id": "key_1", "model": "gpt-5", "batch": False, "service_tier": "default", **changes,
    }  # fmt: skip


MODALITIES = {"input_text_tokens": 400, "input_audio_tokens": 50, "input_image_tokens": 50, "input_cached_text_tokens": 300,
              "input_cached_audio_tokens": 50, "input_cached_image_tokens": 50, "output_text_tokens": 400, "output_audio_tokens": 50,
              "output_image_tokens": 50}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, {"input_uncached": 500, "cache_read": 400, "input_cache_write_tokens": 100, "output": 500}),
        (MODALITIES, {"input_uncached": 450, "audio_input": 50, "cache_read": 400, "input_cache_write_tokens": 100, "output": 450, "audio_output": 50}),
        # parts that include what was cached
        ({**MODALITIES, "input_text_tokens": 700, "input_audio_tokens": 250, "input_cached_audio_tokens": 200},
         {"input_uncached": 450, "audio_input": 50, "cache_read": 400, "input_cache_write_tokens": 100, "output": 450, "audio_output": 50}),
        # parts that do not add up: audio stays where it is
        ({**MODALITIES, "input_audio_tokens": 60, "output_audio_tokens": 60}, {"input_uncached": 500, "cache_read": 400, "input_cache_write_tokens": 100, "output": 500}),
        ({"input_cache_write_30m_tokens": 60, "input_cache_write_12h_tokens": 30},
         {"input_uncached": 500, "cache_read": 400, "input_cache_write_30m_tokens": 60, "input_cache_write_12h_tokens": 30, "input_cache_write_tokens": 10, "output": 500}),
        ({"output_tokens": 0}, {"input_uncached": 500, "cache_read": 400, "input_cache_write_tokens": 100}),
    ],
)  # fmt: skip
def test_openai_meters_do_not_overlap(tmp_path: Path, changes: Found, said: dict[str, int]) -> None:
    rows, coverage = one(tmp_path, "openai_usage", "page.json", page(bucket(1), bucket(2, completions(**changes))))
    assert meters(rows) == {**said, "requests": 5}
    tokens = sum(row["quantity"] for row in rows if row["unit"] == "Tokens")
    assert tokens == 1000 + changes.get("output_tokens", 500)
    assert {(row["report"], row["model_as_logged"], row["sub_account_id"], row["api_key_id"]) for row in rows} == {("completions", "gpt-5", "proj_a", "key_1")}
    assert coverage == {("completions", "acct", date(2026, 9, day)) for day in (1, 2)}
    assert "user-1" not in str(rows) and not any(row["derived"] for row in rows)


def test_openai_older_payloads_are_derived_and_say_so(tmp_path: Path) -> None:
    old = completions(input_uncached_tokens=None, input_cache_write_tokens=None, batch=True, project_id=None, api_key_id=None, model=None)
    rows, _ = one(tmp_path, "openai_usage", "page.json", page(bucket(1, old)))
    assert meters(rows) == {"input_uncached": 600, "cache_read": 400, "output": 500, "requests": 5}
    assert [row["meter"] for row in rows if row["derived"]] == ["input_uncached"]
    assert {(row["model_as_logged"], row["sub_account_id"], row["service_tier"]) for row in rows} == {(None, None, "batch")}


@pytest.mark.parametrize(
    ("object_", "counts", "report", "said"),
    [
        ("embeddings", {"input_tokens": 16, "num_model_requests": 2}, "embeddings", {"input_uncached": 16, "requests": 2}),
        ("moderations", {"input_tokens": 16, "num_model_requests": 2}, "moderations", {"input_uncached": 16, "requests": 2}),
        ("images", {"images": 2, "num_model_requests": 1, "size": "1024x1024"}, "images", {"images": 2, "requests": 1}),
        ("audio_speeches", {"characters": 45, "num_model_requests": 1}, "audio_speeches", {"characters": 45, "requests": 1}),
        ("audio_transcriptions", {"seconds": 20.5, "num_model_requests": 1}, "audio_transcriptions", {"seconds": Decimal("20.5"), "requests": 1}),
        ("vector_stores", {"usage_bytes": 1024}, "vector_stores", {"usage_bytes": 1024}),
        ("code_interpreter_sessions", {"num_sessions": 1}, "code_interpreter_sessions", {"sessions": 1}),
        ("file_searches", {"num_requests": 2}, "file_search_calls", {"file_search_calls": 2}),
        ("web_searches", {"num_requests": 3, "num_model_requests": 2}, "web_search_calls", {"web_search_calls": 3}),
    ],
)
def test_every_report_of_openai(tmp_path: Path, object_: str, counts: Found, report: str, said: dict[str, Any]) -> None:
    """C20: litellm PR 39610: searches of the web are as many as the vendor says, not as many as there are results."""
    result = {"object": f"organization.usage.{object_}.result", "project_id": "proj_a", **counts}
    rows, coverage = one(tmp_path, "openai_usage", "page.json", page(bucket(1, result)))
    assert meters(rows) == said and {row["report"] for row in rows} == {report}
    assert coverage == {(report, "acct", date(2026, 9, 1))}
    first = next(iter(counts))
    assert f"{first} is missing" in refusal(tmp_path, "openai_usage", "page.json", page(bucket(1, {**result, first: None})))


def test_an_empty_report_is_known_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert one(tmp_path, "openai_usage", "images/page-1.json", page(bucket(1)))[1] == {("images", "acct", date(2026, 9, 1))}
    assert one(tmp_path, "openai_usage", "embeddings-1.json", page(bucket(1)))[1] == {("embeddings", "acct", date(2026, 9, 1))}
    assert one(tmp_path, "openai_usage", "page.json", page(bucket(1))) == ([], set())  # it says nothing, and replaces nothing


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (page(bucket(1, completions(), completions(input_tokens=1001))), "record 2: cached, written and uncached input do not add up"),
        (page(bucket(1, completions(input_tokens=-1))), "input_tokens is not a count"),
        (page(bucket(1, completions(input_tokens="1e400"))), "input_tokens is not a count"),
        (page(bucket(1, completions(output_tokens=None))), "output_tokens is missing"),
        (page(bucket(1, completions(input_uncached_tokens=None, input_cached_tokens=2000))), "more cached and written input than input_tokens"),
        (page(bucket(1, completions(input_cache_write_30m_tokens=200))), "more written input by time"),
        (page(bucket(1, completions(object="organization.usage.decisions.result"))), "not results of a usage report that is known"),
        (page(bucket(1, completions(object=None))), "not results of a usage report that is known"),
        (page(bucket(1, completions(), {"object": "organization.usage.images.result", "images": 1})), "results of different reports"),
        (page(bucket(1, completions()), has_more=True), "more follow, and they are missing"),
        (page(bucket(1), bucket(3)), "the day after 2026-09-01 is 2026-09-03"),
        (page({**bucket(1), "end_time": bucket(1)["start_time"] + 90_000}), "ask the cost API for daily buckets"),
        ('{"data": [{"results": [{"input_tokens": NaN}]}]}', "not JSON"),
    ],
)
def test_openai_usage_is_refused_whole(tmp_path: Path, content: Any, words: str) -> None:
    assert words in refusal(tmp_path, "openai_usage", "page.json", content)


MESSAGE = {
    "account_id": "user_1", "service_account_id": "svac_1", "api_key_id": "apikey_1", "workspace_id": "wrkspc_1", "model": "claude-opus-5",
    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500}, "cache_read_input_tokens": 200,
    "context_window": "0-200k", "inference_geo": "global", "output_tokens": 500, "server_tool_use": {"web_search_requests": 10},
    "service_tier": "standard", "uncached_input_tokens": 1500,
}  # fmt: skip


def messages(*results: Found) -> Found:
    return {"data": [{"starting_at": "2026-09-01T00:00:00Z", "ending_at": "2026-09-02T00:00:00Z", "results": list(results)}], "has_more": False}


def test_anthropic_messages(tmp_path: Path) -> None:
    rows, coverage = one(tmp_path, "anthropic_usage", "page.json", messages(MESSAGE))
    assert meters(rows) == {"input_uncached": 1500, "cache_read": 200, "cache_write_5m": 500, "cache_write_1h": 1000, "output": 500, "web_search_requests": 10}
    assert {(r["sub_account_id"], r["api_key_id"], r["service_tier"], r["context_window"], r["region"]) for r in rows} == {("wrkspc_1", "apikey_1", "standard", "0-200k", "global")}
    assert coverage == {("messages", "acct", date(2026, 9, 1))} and "user_1" not in str(rows)
    nobody = {**MESSAGE, "workspace_id": None, "api_key_id": None, "service_tier": "priority", "server_tool_use": None}
    rows, _ = one(tmp_path, "anthropic_usage", "page.json", messages(nobody))
    assert {(r["sub_account_id"], r["api_key_id"], r["service_tier"]) for r in rows} == {(None, None, "priority")} and len(rows) == 5
    for changes, words in (
        ({"uncached_input_tokens": "1.5"}, "record 1: uncached_input_tokens is not a count"),
        ({"output_tokens": None}, "output_tokens is missing"),
        ({"rbac_group_id": "rbac_group_1"}, "groups overlap"),  # of /analytics/usage_report
        ({"cache_creation": None}, "cache_creation.ephemeral_1h_input_tokens is missing"),
    ):
        assert words in refusal(tmp_path, "anthropic_usage", "page.json", messages({**MESSAGE, **changes}))


def counted(day: int, counts: Found = MESSAGE, **group: Any) -> Found:
    """A row of the analytics usage answer."""
    names = ("cache_creation", "cache_read_input_tokens", "output_tokens", "server_tool_use", "uncached_input_tokens")
    groups = {name: counts[name] for name in ("api_key_id", "workspace_id", "model", "context_window", "inference_geo", "service_tier")}
    return {
        "starting_at": f"2026-09-{day:02}T00:00:00Z", "ending_at": f"2026-09-{day + 1:02}T00:00:00Z",
        "group": {**groups, "actor": {"email_address": "user_1"}, "rbac_group_id": None, "claude_tag_user_id": None, **group},
        "usage": {**{name: counts[name] for name in names}, "requests": 3, "total_tokens": 3700},
    }  # fmt: skip


def test_anthropic_analytics_say_what_the_messages_report_says(tmp_path: Path) -> None:
    def answer(*rows: Found, more: bool = False) -> Found:
        return {"data": list(rows), "has_more": more, "next_page": None, "data_refreshed_at": "2026-10-03T04:00:00Z"}

    same, _ = one(tmp_path, "anthropic_usage", "page.json", messages(MESSAGE))
    rows, coverage = one(tmp_path, "anthropic_analytics_usage", "page.json", answer(counted(1)))
    assert rows == same and coverage == {("messages", "acct", date(2026, 9, 1))}
    _, coverage = one(tmp_path, "anthropic_analytics_usage", "page.json", answer(counted(1), counted(3)))
    assert {day for *_, day in coverage} == {date(2026, 9, day) for day in (1, 2, 3)}
    for row, words in (
        (counted(1, rbac_group_id="g"), "groups overlap"),
        (counted(1, claude_tag_user_id="U1"), "leaves some out"),
        (counted(1, {**MESSAGE, "output_tokens": None}), "output_tokens is missing"),
        ({**counted(1), "usage": None}, "is missing"),
        ({**counted(1), "ending_at": "2026-09-01T01:00:00Z"}, "the same day and group"),
    ):
        assert words in refusal(tmp_path, "anthropic_analytics_usage", "page.json", answer(counted(1), row) if "same" in words else answer(row))


TOKENS = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
    "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed\n"
    "2026-09-04,claude-opus-5,Closer App,Default,standard,≤ 200k,46981,15969,0,7,16932,2,global,\n"
    "2026-09-06,claude-opus-5,Closer App,Default,standard,≤ 200k,0,0,0,0,0,0,global,\n"
)
AMOUNTS = (
    "user_id,start_time_iso,end_time_iso,model,api_key_name,api_key,type,price,amount\n"
    "u1,2026-09-22T00:00:00+08:00,2026-09-22T01:00:00+08:00,deepseek-v4,prod,sk-***1,input_cache_hit_tokens,0.00000015,1000\n"
    "u1,2026-09-22T00:00:00+08:00,2026-09-22T01:00:00+08:00,deepseek-v4,prod,sk-***1,input_cache_miss_tokens,0.0000045,200\n"
    "u1,2026-09-22T00:00:00+08:00,2026-09-22T01:00:00+08:00,deepseek-v4,prod,sk-***1,output_tokens,0.0000135,30\n"
    "u1,2026-09-22T00:00:00+08:00,2026-09-22T01:00:00+08:00,deepseek-v4,prod,sk-***1,request_count,,4\n"
    "u1,2026-09-22T00:00:00+08:00,2026-09-22T01:00:00+08:00,deepseek-v4,prod,sk-***1,new_thing,,5\n"
)
METRICS = (
    "email,start_time,end_time,usage_type,accelerator_type,accelerator_seconds,base_model_name,model_bucket,parameter_count,prompt_tokens,completion_tokens\n"
    "team@example.com,2026-09-20 17:16:48 UTC,2026-09-20 17:16:48 UTC,TEXT,,,llama,LLM 16B+,70000000000,812,120\n"
    "team@example.com,2026-09-21 00:00:00 UTC,2026-09-21 01:00:00 UTC,GPU,H100,3600.5,llama,,,,\n"
)


def test_anthropic_token_export(tmp_path: Path) -> None:
    rows, coverage = one(tmp_path, "anthropic_tokens", "tokens.csv", "\ufeff" + TOKENS)
    assert meters(rows) == {"input_uncached": 46981, "cache_write_5m": 15969, "cache_read": 7, "output": 16932, "web_search_requests": 2}
    assert {(row["model_as_logged"], row["sub_account_id"], row["api_key_id"]) for row in rows} == {("claude-opus-5", "Default", "Closer App")}
    assert {day.day for _, _, day in coverage} == {4, 5, 6}  # a day of zeros is covered, too
    for old, new, words in (("46981", "46,981", "record 1: 15 values under 14 columns"), ("46981", "-46981", "usage_input_tokens_no_cache is not a count"), ("model_version", "model", "column model_version is missing")):  # fmt: skip
        assert words in refusal(tmp_path, "anthropic_tokens", "tokens.csv", TOKENS.replace(old, new))


def test_deepseek_amounts(tmp_path: Path) -> None:
    rows, coverage = one(tmp_path, "deepseek_amounts", "amount.csv", AMOUNTS)
    assert meters(rows) == {"cache_read": 1000, "input_uncached": 200, "output": 30, "requests": 4, "new_thing": 5}
    assert coverage == {("amounts", "acct", date(2026, 9, 22))}
    assert "sk-" not in str(rows) and {row["api_key_id"] for row in rows} == {"prod"}
    assert "the last line does not end" in refusal(tmp_path, "deepseek_amounts", "amount.csv", AMOUNTS[:-1])


def test_fireworks_metrics(tmp_path: Path) -> None:
    rows, coverage = one(tmp_path, "fireworks", "metrics.csv", METRICS)
    assert [(row["usage_date"].day, row["meter"], row["quantity"]) for row in rows] == [(20, "input", 812), (20, "output", 120), (21, "accelerator_seconds", Decimal("3600.5"))]
    assert {day.day for _, _, day in coverage} == {20, 21} and "@" not in str(rows)
    for bad in ("20.9.2026 17:16:48", "infinity", "9999-09-20 17:16:48", "epoch"):
        text = METRICS.replace("2026-09-20 17:16:48 UTC", bad)
        assert "start_time is not a time" in refusal(tmp_path, "fireworks", "metrics.csv", text)


@pytest.mark.parametrize(
    ("format_", "name", "content"),
    [
        ("openai_usage", "page.json", json.dumps(page(bucket(1, completions()), bucket(2, completions(**MODALITIES))))),
        ("anthropic_usage", "page.json", json.dumps(messages(MESSAGE, MESSAGE))),
        ("anthropic_tokens", "tokens.csv", TOKENS),
        ("deepseek_amounts", "amount.csv", AMOUNTS),
        ("fireworks", "metrics.csv", METRICS),
    ],
)
def test_a_cut_report_is_refused_or_read_right(tmp_path: Path, format_: str, name: str, content: str) -> None:
    whole = {(row["source_row"], row["meter"], row["quantity"]) for row in one(tmp_path, format_, name, content)[0]}
    data = content.encode()
    path = tmp_path / f"cut-{name}"
    for offset in [*range(0, len(data), 50), len(data) - 1]:
        path.write_bytes(data[:offset])
        try:
            rows, _ = read(format_, [path])
        except Refused as refused:
            assert "\n" not in str(refused)
        else:
            assert {(row["source_row"], row["meter"], row["quantity"]) for row in rows} <= whole


def test_published_samples(tmp_path: Path) -> None:
    if not SAMPLES.exists():
        pytest.skip("no samples of bills beside the checkout")
    for path in sorted((SAMPLES / "openai").glob("organization_usage_*.json")):
        text = path.read_text().replace('"has_more": true', '"has_more": false')
        rows, coverage = one(tmp_path, "openai_usage", path.name, text)
        assert rows and {row["report"] for row in rows} == {path.stem.removeprefix("organization_usage_")} == {row[0] for row in coverage}
        if "completions" in path.name:
            assert meters(rows) == {"input_uncached": 450, "audio_input": 50, "cache_read": 400, "input_cache_write_tokens": 100, "output": 450, "audio_output": 50, "requests": 5}
    rows, _ = read("anthropic_usage", [SAMPLES / "anthropic" / "usage_report_messages.json"])
    assert sum(row["quantity"] for row in rows if row["unit"] == "Tokens") == 1500 + 200 + 500 + 1000 + 500 + 900 + 120
    rows, _ = read("anthropic_tokens", [SAMPLES / "anthropic" / "console_token_export.csv"])
    assert sum(row["quantity"] for row in rows if row["meter"] == "input_uncached") == 146_981
    rows, _ = read("deepseek_amounts", [SAMPLES / "saas" / "deepseek_amount.csv"])
    assert meters(rows) == {"cache_read": 10**6, "input_uncached": 10**6, "output": 10**6, "requests": 100}
    rows, _ = read("fireworks", [SAMPLES / "saas" / "fireworks_billing_metrics.csv"])
    assert meters(rows) == {"input": 812, "output": 120}
    rows, _ = read("databricks_usage", [SAMPLES / "saas" / "databricks_billing_usage.jsonl"], None)
    assert sum(row["quantity"] for row in rows) == Decimal("241.1")
