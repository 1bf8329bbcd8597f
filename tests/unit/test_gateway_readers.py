"""Gateway logs become disjoint meters; what is not a count, a time or an event is rejected with its reason."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import sample
from pipelines.errors import Refused
from pipelines.home import CHECKOUT
from pipelines.sample.writers import litellm as litellm_writer
from pipelines.sample.writers import mapped as mapped_writer
from tests.reading import METERS, parse, tokens

TRUTH = sample.Truth.make(scale=0.02)
SAMPLES = CHECKOUT.parent / "shared" / "samples"


def litellm(tmp_path: Path, *payloads: Any) -> list[dict[str, Any]]:
    lines = [p if isinstance(p, str) else json.dumps(p) for p in payloads]
    return parse(tmp_path, "\n".join(lines).encode(), "a.jsonl", format="litellm")


def call(**changes: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 50, **changes.pop("usage", {})}
    base = {
        "id": "e1", "startTime": 1788220800.123, "status": "success", "custom_llm_provider": "openai", "model": "gpt-4o",
        "prompt_tokens": usage["prompt_tokens"], "completion_tokens": usage["completion_tokens"], "response_cost": 1.1e-05,
        "call_type": "acompletion", "messages": sample.CANARY,
        "metadata": {"usage_object": usage, **changes.pop("metadata", {})},
    }  # fmt: skip
    return base | changes


def test_litellm_gives_back_the_truth(tmp_path: Path) -> None:
    events = [e for e in TRUTH.of("litellm-prod") if e.input_uncached >= 0]
    rows = parse(tmp_path, gzip.compress(litellm_writer.write(events)), "a.jsonl.gz", format="litellm")
    assert [row["reject"] for row in rows] == [None] * len(events)
    same = ("event_id", "project", "application", "environment", "customer_id", "user_tier", "request_type", "operation", "status",
            "vector_index_id", "trace_id", "session_id", "attempt", "routing_reason", "latency_ms", "gateway_team")  # fmt: skip
    for row, event in zip(rows, events, strict=True):
        assert tokens(row) == tuple(getattr(event, meter) for meter in METERS)
        assert {name: row[name] for name in same} == {name: getattr(event, name) for name in same}
        assert row["occurred_at"] == event.at and row["api_key_id"] == event.api_key
        assert row["triggered_by"] == (event.triggered_by and f"team-{event.triggered_by}")
        assert row["gateway_cache"] == ("exact" if event.cached else "none")
        assert sample.CANARY not in repr(row)


def test_litellm_counts_are_taken_apart(tmp_path: Path) -> None:
    details = {"cached_tokens": 0, "audio_tokens": 5, "cache_creation_token_details": {"ephemeral_1h_input_tokens": 10}}
    usage = {"cache_read_input_tokens": 30, "cache_creation_input_tokens": 25, "prompt_tokens_details": details,
             "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 3}}  # fmt: skip
    (row,) = litellm(tmp_path, call(usage=usage))
    assert tokens(row) == (40, 30, 15, 10, 27, 20, 0, 0)
    assert (row["audio_input_tokens"], row["audio_output_tokens"], str(row["source_cost"])) == (5, 3, "0.000011000000")


def test_a_hit_in_the_gateways_cache_used_nothing(tmp_path: Path) -> None:
    (row,) = litellm(tmp_path, call(cache_hit="True"))
    assert tokens(row) == (0, 0, 0, 0, 0, 0, 100, 50) and row["gateway_cache"] == "exact" and row["requests"] == 0


def test_a_secret_key_is_never_kept(tmp_path: Path) -> None:
    (row,) = litellm(tmp_path, call(metadata={"user_api_key_hash": "sk-very-secret"}))
    assert "secret" not in repr(row) and len(row["api_key_id"]) == 64


BAD = [
    ('{"id": "e1", "startTime"', "bad_json"),
    ("[1]", "bad_json"),
    (call(id=""), "missing_event_id"),
    (call(startTime="yesterday"), "bad_timestamp"),
    (call(startTime=-5), "bad_timestamp"),
    (call(startTime=1e300), "bad_timestamp"),
    (call(prompt_tokens=-5), "negative_tokens"),
    (call(prompt_tokens=10**12 + 1), "absurd_tokens"),
    (call(prompt_tokens=10**40), "absurd_tokens"),
    (call(prompt_tokens=1.5), "tokens_not_integer"),
    (call(prompt_tokens="many"), "tokens_not_integer"),
    (call(prompt_tokens=True), "tokens_not_integer"),
    (call(prompt_tokens={"n": 1}), "tokens_not_integer"),
    (call(usage={"cache_read_input_tokens": 101}), "tokens_not_disjoint"),
    (call(usage={"completion_tokens_details": {"reasoning_tokens": 51}}), "tokens_not_disjoint"),
    (call(status="who knows"), "bad_status"),
]


@pytest.mark.parametrize("line, reason", BAD, ids=[f"{n}-{reason}" for n, (_, reason) in enumerate(BAD)])
def test_a_bad_line_is_rejected_alone(tmp_path: Path, line: Any, reason: str) -> None:
    rows = litellm(tmp_path, call(id="before"), "", line, call(id="after"))
    assert [(row["source_row"], row["reject"]) for row in rows] == [(1, None), (3, reason), (4, None)]


def test_public_fixture_of_litellm(tmp_path: Path) -> None:
    path = SAMPLES / "gateway" / "litellm" / "standard_logging_payload.jsonl"
    if not path.is_file():
        pytest.skip("the sample inputs are not beside this checkout")
    rows = parse(tmp_path, path.read_bytes(), "a.jsonl", format="litellm")
    assert [(r["reject"], r["input_uncached_tokens"], r["output_tokens"], r["model_as_logged"]) for r in rows] == [(None, 10, 20, "gpt-4o")]
    assert rows[0]["occurred_at"] == datetime(2025, 1, 24, 9, 20, 46, 847371)


PROXY = {
    "event_id": "request_id", "occurred_at": "ts", "provider": {"value": "aws"}, "model": "model_id",
    "status": {"column": "outcome", "map": {"ok": "success", "error": "failure"}},
    "input_tokens": "tokens_in", "cache_read_tokens": "cached_in", "output_tokens": "tokens_out",
}  # fmt: skip


def test_a_mapped_csv_gives_back_the_truth(tmp_path: Path) -> None:
    events = TRUTH.of("bedrock-proxy")
    rows = parse(tmp_path, mapped_writer.write_csv(events), "a.csv", format="mapped", file="csv", fields=PROXY, tokens="inclusive")
    assert [(r["event_id"], r["occurred_at"], r["provider"], r["status"], *tokens(r)[:2], r["output_tokens"], r["reject"]) for r in rows] == [
        (e.event_id, e.at, "aws", e.status, e.input_uncached, e.cache_read, e.output_total, None) for e in events
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_canonical_field_can_be_mapped(tmp_path: Path, suffix: str) -> None:
    events = [e for e in TRUTH.events if e.input_uncached >= 0][:300]
    data = mapped_writer.write_csv(events, mapped_writer.ALL_COLUMNS)
    if suffix == "parquet":
        (tmp_path / "made.csv").write_bytes(data)
        duckdb.sql(f"copy (from read_csv('{tmp_path}/made.csv')) to '{tmp_path}/made.parquet'")
        data = (tmp_path / "made.parquet").read_bytes()
    fields = {name: name for name in mapped_writer.ALL_COLUMNS}
    rows = parse(tmp_path, data, f"a.{suffix}", format="mapped", file=suffix, fields=fields, tokens="exclusive")
    assert [(r["event_id"], r["occurred_at"], r["queries"], r["reject"], *tokens(r)) for r in rows] == [
        (e.event_id, e.at, e.queries, None, *(getattr(e, meter) for meter in METERS)) for e in events
    ]


def test_mapped_json_follows_dots_and_finds_flat_names(tmp_path: Path) -> None:
    lines = [
        {"id": "1", "at": "2026-09-01T02:00:00+02:00", "usage": {"in": 7}, "gen_ai.usage.out": "3", 'we"ird': "x"},
        {"id": "2", "at": 1788220800123, "usage": None},
    ]
    fields = {"event_id": "id", "occurred_at": "at", "input_tokens": "usage.in", "output_tokens": "gen_ai.usage.out", "project": 'we"ird'}
    rows = parse(tmp_path, "\n".join(map(json.dumps, lines)).encode(), "a.jsonl", format="mapped", file="jsonl", fields=fields)
    assert [(r["occurred_at"], r["input_uncached_tokens"], r["output_tokens"], r["project"]) for r in rows] == [
        (datetime(2026, 9, 1), 7, 3, "x"), (datetime(2026, 9, 1, 0, 0, 0, 123000), 0, 0, None),
    ]  # fmt: skip


def test_local_times_and_own_time_formats(tmp_path: Path) -> None:
    fields = {"event_id": "id", "occurred_at": "at"}
    entry = {"format": "mapped", "file": "csv", "fields": fields, "time_zone": "America/New_York"}
    (plain,) = parse(tmp_path, b"id,at\n1,2026-09-30 22:30:00\n", "a.csv", **entry)
    (own,) = parse(tmp_path, b"id,at\n1,30.09.2026 22:30\n", "a.csv", **entry, time_format="%d.%m.%Y %H:%M")
    assert plain["occurred_at"] == own["occurred_at"] == datetime(2026, 10, 1, 2, 30)


def test_a_missing_column_refuses_the_file_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"s/a\.csv.*tokens_in.*;"):
        parse(tmp_path, b"request_id,ts,model_id,outcome,cached_in,tokens_out\n1,2,3,4,5,6\n", "a.csv", format="mapped", file="csv", fields=PROXY)


def test_an_unclosed_quote_refuses_the_file_without_its_text(tmp_path: Path) -> None:
    fields = {"event_id": "id", "occurred_at": "at"}
    with pytest.raises(Refused) as refused:
        parse(tmp_path, f'id,at,x\n1,2026-09-01T00:00:00Z,"{sample.CANARY}\n'.encode(), "a.csv", format="mapped", file="csv", fields=fields)
    assert sample.CANARY not in str(refused.value)


def test_equal_rows_without_ids_are_two_events_in_one_file(tmp_path: Path) -> None:
    fields = {"occurred_at": "at", "input_tokens": "n"}
    entry = {"format": "mapped", "file": "csv", "fields": fields}
    data = b"at,n\n2026-09-01T00:00:00Z,5\n2026-09-01T00:00:00Z,5\n2026-09-01T00:00:01Z,5\n"
    first, again = parse(tmp_path, data, "a.csv", **entry), parse(tmp_path, data, "b.csv", **entry)
    ids = [row["event_id"] for row in first]
    assert len(set(ids)) == 3 and ids == [row["event_id"] for row in again]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("{'team': 'a'} as team, 5 as tokens", "column team: expected text, found STRUCT(team VARCHAR)"),
        ("12.0::double as team, [5] as tokens", "column team: expected text, found DOUBLE; column tokens: expected number, found INTEGER[]"),
        ("'a' as team, true as tokens", "column tokens: expected number, found BOOLEAN"),
        ("'a' as team, 5 as token", "column tokens is missing (there is token)"),
    ],
)
def test_a_mapped_parquet_of_other_types_is_refused_with_the_difference(tmp_path: Path, sql: str, said: str) -> None:
    duckdb.sql(f"copy (select '1' as id, 1788220800 as at, {sql}) to '{tmp_path}/made.parquet'")
    fields = {"event_id": "id", "occurred_at": "at", "gateway_team": "team", "input_tokens": "tokens"}
    with pytest.raises(Refused) as error:
        parse(tmp_path, (tmp_path / "made.parquet").read_bytes(), "a.parquet", format="mapped", file="parquet", fields=fields)
    assert said in str(error.value)
