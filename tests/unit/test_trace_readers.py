"""Traces: OTLP spans and Langfuse observations become events once each, whatever encloses, repeats or truncates them."""

from __future__ import annotations

import csv
import io
import json
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import sample
from pipelines.errors import Refused
from pipelines.home import CHECKOUT
from pipelines.policy.files import Gateway
from pipelines.sample.truth import Event
from tests.reading import METERS, parse, tokens

TRUTH = sample.Truth.make(scale=0.02)
EVENTS = [e for e in TRUTH.of("litellm-prod") if e.input_uncached >= 0 and not e.cached and e.operation in ("chat", "embedding")][:400]
SAMPLES = CHECKOUT.parent / "shared" / "samples" / "gateway"
CONTEXT = ("environment", "customer_id", "user_tier", "request_type", "triggered_by", "routing_reason", "vector_index_id", "session_id")
NANO = 1_000_000_000


def nanos(at: datetime) -> int:
    return int((at - datetime(1970, 1, 1)) / timedelta(microseconds=1)) * 1000


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """OTLP's list; whole numbers are texts by the protobuf mapping, though many senders write numbers."""
    kinds = {str: "stringValue", bool: "boolValue", float: "doubleValue", int: "intValue"}
    return [{"key": k, "value": {kinds[type(v)]: str(v) if type(v) is int else v}} for k, v in values.items() if v is not None]


def span(n: int, parent: int | None = None, operation: str | None = "chat", **values: Any) -> dict[str, Any]:
    """Span number n of one trace, a second long; `values` are attributes with _ for ."""
    own = {"gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
    own |= {"gen_ai.prompt": sample.CANARY, "gen_ai.input.messages": sample.CANARY, "gen_ai.completion": sample.CANARY}
    return {
        "traceId": "t1", "spanId": f"{n:016x}", "parentSpanId": "" if parent is None else f"{parent:016x}", "name": "x",
        "startTimeUnixNano": str(1788220800 * NANO + n), "endTimeUnixNano": str(1788220801 * NANO + n), "status": {"code": 1},
        "attributes": attributes(own | values),
    }  # fmt: skip


def usage(tokens_in: int | None, tokens_out: int | None, **more: Any) -> dict[str, Any]:
    counts = {"input_tokens": tokens_in, "output_tokens": tokens_out, **more}
    return {f"gen_ai.usage.{name}": n for name, n in counts.items()}


def export(*spans: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, Any]:
    scopes = [{"scope": {"name": "genai"}, "spans": list(spans)}]
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {})}, "scopeSpans": scopes}]}


def otel(tmp_path: Path, *lines: Any, **entry: Any) -> list[dict[str, Any]]:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return parse(tmp_path, "\n".join(texts).encode(), "a.jsonl", format="otel_genai", **entry)


def span_of(event: Event, n: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call as an instrumented client exports it, and the resource it ran in."""
    words = {
        "gen_ai.response.model": event.model, "gen_ai.provider.name": event.provider, "gen_ai.response.id": event.event_id,
        "gen_ai.conversation.id": event.session_id, "openai.response.service_tier": "default",
        **usage(event.input_total, event.output_total, **{
            "cache_read.input_tokens": event.cache_read, "cache_creation.input_tokens": event.cache_write_5m + event.cache_write_1h,
            "reasoning.output_tokens": event.reasoning}),
        **{name: getattr(event, name) for name in CONTEXT if name not in ("environment", "session_id")},
    }  # fmt: skip
    made = span(n, operation={"chat": "chat", "embedding": "embeddings"}[event.operation], **words)
    made |= {"startTimeUnixNano": str(nanos(event.at)), "endTimeUnixNano": str(nanos(event.at) + event.latency_ms * 1_000_000)}
    made |= {"traceId": event.trace_id or "t", "status": {"code": 2 if event.status == "failure" else 1}}
    resource = {"service.name": event.application, "deployment.environment.name": event.environment, "team.id": event.gateway_team}
    return made, resource


def test_spans_give_back_the_truth(tmp_path: Path) -> None:
    lines = [export(made, resource=resource) for made, resource in (span_of(e, n) for n, e in enumerate(EVENTS))]
    rows = otel(tmp_path, *lines, fields={"gateway_team": "team.id"})
    same = (*CONTEXT, "event_id", "operation", "status", "latency_ms", "gateway_team", "application", "provider")
    for row, event in zip(rows, EVENTS, strict=True):
        written = event.cache_write_5m + event.cache_write_1h
        expected = (event.input_uncached, event.cache_read, written, 0, event.output, event.reasoning, 0, 0)
        assert row["reject"] is None and tokens(row) == expected
        assert {name: row[name] for name in same} == {name: getattr(event, name) for name in same}
        assert (row["occurred_at"], row["model_as_logged"]) == (event.at, event.model)
    assert sample.CANARY not in repr(rows)


def test_a_call_around_a_call_is_not_counted_even_on_another_line(tmp_path: Path) -> None:
    outer = export(span(1, operation="invoke_agent", **usage(100, 9)), span(2, 1, **usage(100, 9)))
    between = export(span(3, 2, operation="execute_tool"), {**span(4, 3, operation=None), "attributes": []})
    inner = export(span(5, 4, **usage(60, 4)), span(6, 2, **usage(40, 5)), span(7, 2, operation="embeddings", **usage(30, None)))
    rows = otel(tmp_path, inner, between, outer)
    assert [(row["source_row"], row["operation"], row["input_uncached_tokens"]) for row in rows] == [
        (1, "chat", 60), (1, "chat", 40), (1, "embedding", 30),
    ]  # fmt: skip


def test_a_call_that_encloses_one_without_usage_keeps_its_own(tmp_path: Path) -> None:
    rows = otel(tmp_path, export(span(1, **usage(100, 9)), span(2, 1)))
    assert [row["input_uncached_tokens"] for row in rows] == [100, 0]


def test_an_embedding_inside_a_chat_and_another_trace_are_calls_of_their_own(tmp_path: Path) -> None:
    other = {**span(1, 1, **usage(7, 1)), "traceId": "t2"}
    rows = otel(tmp_path, export(span(1, **usage(100, 9)), span(2, 1, operation="embeddings", **usage(30, None)), other))
    assert sorted(row["input_uncached_tokens"] for row in rows) == [7, 30, 100]


def test_spans_in_a_circle_are_all_kept(tmp_path: Path) -> None:
    rows = otel(tmp_path, export(span(1, 2, **usage(1, 1)), span(2, 1, **usage(2, 1)), span(3, 3, **usage(3, 1))))
    assert [row["input_uncached_tokens"] for row in rows] == [1, 2, 3]


def test_old_names_and_numbers_as_numbers(tmp_path: Path) -> None:
    made = {**span(1, operation=None), "attributes": [
        {"key": "gen_ai.system", "value": {"stringValue": "aws.bedrock"}}, {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
        {"key": "gen_ai.usage.prompt_tokens", "value": {"intValue": 100}}, {"key": "gen_ai.usage.prompt_tokens", "value": {"intValue": 999}},
        {"key": "gen_ai.usage.completion_tokens", "value": {"doubleValue": 20.0}}, {"key": "gen_ai.usage.cache_read_tokens", "value": {"intValue": "30"}},
        {"key": "gen_ai.usage.cache_creation_input_tokens", "value": {"intValue": "10"}}, {"key": "error.type", "value": {"stringValue": "timeout"}},
        {"key": "gen_ai.usage.cost", "value": {"doubleValue": 8.4e-07}}, {"key": None, "value": {}}, {"value": 5}, 5,
    ]}  # fmt: skip
    (row,) = otel(tmp_path, export(made))
    assert tokens(row) == (60, 30, 10, 0, 20, 0, 0, 0) and (row["provider"], row["status"], row["operation"]) == ("aws.bedrock", "failure", "chat")
    assert (row["event_id"], str(row["source_cost"]), row["latency_ms"]) == ("t1-0000000000000001", "8.40000E-7", 1000)


def test_the_source_says_who_it_is_and_how_it_counts(tmp_path: Path) -> None:
    made = span(1, **{**usage(10, 5, **{"cache_read.input_tokens": 30}), "tenant": "acme", "team": "by-span"})
    line = export(made, resource={"service.namespace": "search", "team": "by-resource"})
    (row,) = otel(tmp_path, line, tokens="exclusive", fields={"gateway_team": "team", "project": "service.namespace", "customer_id": "tenant"})
    assert (row["gateway_team"], row["project"], row["customer_id"]) == ("by-span", "search", "acme")
    assert tokens(row)[:2] == (10, 30)
    (row,) = otel(tmp_path, line)
    assert row["reject"] == "tokens_not_disjoint"


def test_the_tokens_of_the_system_prompt_by_their_own_name_or_the_source_s(tmp_path: Path) -> None:
    line = export(span(1, **{**usage(100, 5), "system_prompt_tokens": 40, "app.prompt.system_tokens": 30}))
    (row,) = otel(tmp_path, line)
    assert row["system_prompt_tokens"] == 40
    (row,) = otel(tmp_path, line, fields={"system_prompt_tokens": "app.prompt.system_tokens"})
    assert row["system_prompt_tokens"] == 30


BAD_SPANS = [
    ('{"resourceSpans": [{"resource"', "bad_json"),
    ({"resourceLogs": []}, "no_spans"),
    ({"resourceSpans": 5}, "no_spans"),
    ({"resourceSpans": [{"scopeSpans": "x"}]}, "no_spans"),
    ({"resourceSpans": [{"scopeSpans": [{"spans": "x"}]}]}, "no_spans"),
    (export(span(1, **usage(10**14, 1))), "absurd_tokens"),
    (export(span(1, **usage(-4, 1))), "negative_tokens"),
    (export(span(1, **{"gen_ai.usage.input_tokens": 1.5})), "tokens_not_integer"),
    (export(span(1, **{"gen_ai.usage.input_tokens": "many"})), "tokens_not_integer"),
    (export(span(1, **usage(100, 1, **{"cache_read.input_tokens": 60, "cache_creation.input_tokens": 41}))), "tokens_not_disjoint"),
    (export(span(1, **usage(1, 9, **{"reasoning.output_tokens": 10}))), "tokens_not_disjoint"),
    (export({**span(1), "startTimeUnixNano": "0"}), "bad_timestamp"),
    (export({**span(1), "startTimeUnixNano": "1" * 40}), "bad_timestamp"),
    (export({**span(1), "spanId": ""}), "missing_event_id"),
]


@pytest.mark.parametrize("line, reason", BAD_SPANS, ids=[f"{n}-{reason}" for n, (_, reason) in enumerate(BAD_SPANS)])
def test_a_bad_line_or_span_is_rejected_alone(tmp_path: Path, line: Any, reason: str) -> None:
    before, after = export({**span(8, **usage(1, 1))}), export({**span(9, **usage(1, 1))})
    rows = otel(tmp_path, before, "", line, after)
    assert [(row["source_row"], row["reject"]) for row in rows] == [(1, None), (3, reason), (4, None)]


def test_lines_without_calls_leave_nothing(tmp_path: Path) -> None:
    assert otel(tmp_path, {"resourceSpans": []}, export(span(1, operation="execute_tool")), export()) == []


def test_sample_spans(tmp_path: Path) -> None:
    path = SAMPLES / "otel" / "otlp_traces.jsonl"
    if not path.is_file():
        pytest.skip("the sample inputs are not beside this checkout")
    rows = parse(tmp_path, path.read_bytes(), "a.jsonl", format="otel_genai", fields={"gateway_team": "team.id"})
    assert [(row["event_id"], row["gateway_team"], tokens(row)[:6]) for row in rows] == [
        ("msg_1", "search", (5, 128955, 1253, 0, 290, 50)), ("4bf92f3577b34da6a3ce929d0e0e4736-0000000000000003", "search", (42, 0, 0, 0, 0, 0)),
    ]  # fmt: skip


# Langfuse ------------------------------------------------------------------------------------------------------------


def observation(event: Event) -> dict[str, Any]:
    counts = {
        "input": event.input_uncached, "input_cache_read": event.cache_read, "input_cache_creation_5m": event.cache_write_5m,
        "input_cache_creation_1h": event.cache_write_1h, "output": event.output, "output_reasoning": event.reasoning,
    }  # fmt: skip
    end = event.at + timedelta(milliseconds=event.latency_ms)
    return {
        "id": event.event_id, "trace_id": event.trace_id, "project_id": "lf", "environment": event.environment,
        "type": {"chat": "GENERATION", "embedding": "EMBEDDING"}[event.operation],
        "start_time": f"{event.at:%Y-%m-%d %H:%M:%S.%f}", "end_time": f"{end:%Y-%m-%d %H:%M:%S.%f}",
        "level": "ERROR" if event.status == "failure" else "DEFAULT", "input": sample.CANARY, "output": sample.CANARY,
        "provided_model_name": event.model, "usage_details": counts | {"total": sum(counts.values())},
        "user_id": event.customer_id, "session_id": event.session_id, "latency": event.latency_ms / 1000,
        "updated_at": "2026-09-02 00:00:00.000", "total_cost": 0.01,
        "metadata": {name: getattr(event, name) for name in (*CONTEXT[2:7], "application", "provider", "gateway_team")}
        | {"chat_history": sample.CANARY},
    }  # fmt: skip


def seen(**changes: Any) -> dict[str, Any]:
    return {
        "id": "o1", "project_id": "p", "type": "GENERATION", "start_time": "2026-10-03 12:00:01.000", "end_time": "2026-10-03 12:00:03.100",
        "provided_model_name": "claude-sonnet-4-5", "usage_details": {"input": 7, "output": 3, "total": 10},
    } | changes  # fmt: skip


def langfuse(tmp_path: Path, *lines: Any, **entry: Any) -> list[dict[str, Any]]:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return parse(tmp_path, "\n".join(texts).encode(), "a.jsonl", format="langfuse", **entry)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


def as_parquet(tmp_path: Path, rows: list[dict[str, Any]]) -> bytes:
    """With usage as a map of whole numbers and times as times, as ClickHouse writes them."""
    (tmp_path / "made.jsonl").write_text("\n".join(map(json.dumps, rows)))
    con = duckdb.connect()
    con.execute(
        f"copy (select * replace (usage_details::json::map(varchar, ubigint) as usage_details, start_time::timestamp as start_time,"
        f" metadata::json::map(varchar, varchar) as metadata) from read_json('{tmp_path}/made.jsonl', columns = {{"
        + ", ".join(f"'{name}': '{'json' if isinstance(value, dict) else 'varchar'}'" for name, value in rows[0].items())
        + f"}})) to '{tmp_path}/made.parquet'"
    )
    return (tmp_path / "made.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_observations_give_back_the_truth(tmp_path: Path, kind: str) -> None:
    made = [observation(event) for event in EVENTS]
    data = {
        "jsonl": lambda: "\n".join(map(json.dumps, made)).encode(), "json": lambda: json.dumps(made, indent=1).encode(),
        "csv": lambda: as_csv(made), "parquet": lambda: as_parquet(tmp_path, made),
    }[kind]()  # fmt: skip
    rows = parse(tmp_path, data, f"a.{kind}", format="langfuse")
    same = (*CONTEXT, "application", "provider", "gateway_team", "operation", "status", "latency_ms", "trace_id")
    for row, event in zip(rows, EVENTS, strict=True):
        assert row["reject"] is None and tokens(row) == tuple(getattr(event, meter) for meter in METERS)
        assert {name: row[name] for name in same} == {name: getattr(event, name) for name in same}
        assert (row["event_id"], row["occurred_at"], row["model_as_logged"]) == (f"lf:{event.event_id}", event.at, event.model)
        assert row["event_version"] == "2026-09-02 00:00:00"
    assert sample.CANARY not in repr(rows)


def test_camel_case_tags_and_keys_of_the_metadata(tmp_path: Path) -> None:
    made = {
        "id": "o1", "type": "GENERATION", "projectId": "p", "startTime": "2026-10-03T12:00:01.000Z", "endTime": "2026-10-03T12:00:03.100Z",
        "traceId": "t", "userId": "acme", "sessionId": "s", "providedModelName": "gpt-5", "updatedAt": "2026-10-03T12:00:09Z",
        "usageDetails": {"input": 60, "input_cached_tokens": 40, "output": 5, "output_reasoning_tokens": 4, "total": 109},
        "costDetails": {"total": 0.25}, "tags": ["application:search", "user_tier:gold"], "metadata": {"org": {"team": "blue"}, "k.x": "v"},
        "modelParameters": '{"service_tier": "flex", "prompt": "CANARY"}',
    }  # fmt: skip
    (row,) = langfuse(tmp_path, made, fields={"gateway_team": "org.team", "environment": "k.x"})
    assert (row["gateway_team"], row["environment"], row["application"], row["user_tier"], row["customer_id"]) == ("blue", "v", "search", "gold", "acme")
    assert tokens(row)[:6] == (60, 40, 0, 0, 5, 4) and (row["provider"], row["service_tier"], row["latency_ms"]) == ("openai", "flex", 2100)
    assert str(row["source_cost"]) == "0.250000000000" and "CANARY" not in repr(row)


@pytest.mark.parametrize(
    "model, provider",
    [("claude-sonnet-4-5-20250929", "anthropic"), ("claude-3-5-haiku@20241022", "google"), ("eu.anthropic.claude-opus-4-5-20251101-v1:0", "aws"),
     ("o3-mini", "openai"), ("text-embedding-3-small", "openai"), ("gemini-2.5-pro", "google"), ("our-deployment", None), ("llama-3.3-70b", None)],
)  # fmt: skip
def test_the_vendor_follows_from_the_model_only_where_it_is_certain(tmp_path: Path, model: str, provider: str | None) -> None:
    (row,) = langfuse(tmp_path, seen(provided_model_name=model))
    assert row["provider"] == provider


def test_other_observations_are_set_aside_and_a_manifest_has_no_rows(tmp_path: Path) -> None:
    rows = langfuse(tmp_path, seen(type="SPAN"), "", seen(id="o2"), seen(type="AGENT", id="o3"))
    assert [(row["event_id"], row["source_row"]) for row in rows] == [("p:o2", 3)]
    folder = tmp_path / "manifests"
    folder.mkdir()
    assert parse(folder, b'{"files": [{"path": "observations/1.jsonl"}]}', "2026-10-03.json", format="langfuse") == []


BAD_OBSERVATIONS = [
    ('{"id": "o1", "type": "GENER', "bad_json"),
    ("[]", "bad_json"),
    (seen(type=None), "unknown_type"),
    (seen(type="POEM"), "unknown_type"),
    (seen(id=None), "missing_event_id"),
    (seen(start_time="yesterday"), "bad_timestamp"),
    (seen(usage_details="many"), "bad_usage"),
    (seen(usage_details=[1]), "bad_usage"),
    (seen(usage_details={"input": 7, "input_image_tokens": 5}), "unknown_meter"),
    (seen(usage_details={"input": 100, "input_cached_tokens": 30, "output": 10, "total": 110}), "total_is_not_the_sum"),  # inclusive
    (seen(usage_details={"input": 1.5}), "tokens_not_integer"),
    (seen(usage_details={"input": -5}), "negative_tokens"),
    (seen(usage_details={"input": 10**30}), "absurd_tokens"),
    (seen(usage_details={"input": {"n": 1}}), "tokens_not_integer"),
]


@pytest.mark.parametrize("line, reason", BAD_OBSERVATIONS, ids=[f"{n}-{reason}" for n, (_, reason) in enumerate(BAD_OBSERVATIONS)])
def test_a_bad_observation_is_rejected_alone(tmp_path: Path, line: Any, reason: str) -> None:
    rows = langfuse(tmp_path, seen(id="before"), line, seen(id="after"))
    assert [row["reject"] for row in rows] == [None, reason, None]


def test_kinds_of_the_same_meter_add_up_and_zeros_are_nothing(tmp_path: Path) -> None:
    counts = {"input": 7, "input_cache_creation": 20, "input_cache_creation_5m": 2089, "input_image": 0, "web_search_queries": 2, "total": 2116}
    rows = langfuse(tmp_path, seen(usage_details=counts), seen(id="o2", usage_details=counts | {"total": 2118}))
    assert [(row["reject"], tokens(row)[:3]) for row in rows] == [(None, (7, 0, 2109))] * 2


def test_a_kind_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    (row,) = langfuse(tmp_path, json.dumps(seen()).replace('"input": 7', '"input": 7, "input": 7'))
    assert (row["reject"], row["input_uncached_tokens"]) == (None, 7)


def test_a_csv_without_usage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="column usage_details is missing"):
        parse(tmp_path, b"id,type,start_time,provided_model_name\n1,GENERATION,2026-10-03 12:00:00,m\n", "a.csv", format="langfuse")


def test_sample_observations(tmp_path: Path) -> None:
    path = SAMPLES / "langfuse" / "observations_export.jsonl"
    if not path.is_file():
        pytest.skip("the sample inputs are not beside this checkout")
    rows = parse(tmp_path, path.read_bytes(), "a.jsonl", format="langfuse", fields={"gateway_team": "team"})
    assert [(row["event_id"], row["gateway_team"], tokens(row)[:6]) for row in rows] == [
        ("proj-search:obs-1", "search", (7, 16399, 2089, 0, 445, 0)), ("proj-search:obs-2", "search", (12, 0, 0, 0, 0, 0)),
    ]  # fmt: skip


# All of them ---------------------------------------------------------------------------------------------------------


def hostile(rng: random.Random, value: Any) -> Any:
    """The value with some of its parts gone or replaced by what no vendor documents."""
    odd = [None, "", "\u202e\U0001f4a5\ud800", 10**60, -1, 1e308, True, [], {}, [None], {"": 5}, "NaN", "0", "\\", "'; drop table parsed"]
    if rng.random() < 0.04:
        return rng.choice(odd)
    if isinstance(value, dict):
        return {key: hostile(rng, v) for key, v in value.items() if rng.random() > 0.03}
    return [hostile(rng, v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["litellm", "litellm_daily", "otel_genai", "langfuse"])
def test_hostile_lines_crash_nothing_and_none_is_lost(tmp_path: Path, name: str) -> None:
    rng = random.Random(name)
    good = {
        "litellm": {"id": "1", "startTime": 1788220800.5, "metadata": {"usage_object": {"prompt_tokens_details": {"cached_tokens": 1}}}, "request_tags": ["a:b"]},
        "litellm_daily": {"date": "2026-09-01", "team_id": "a", "prompt_tokens": 5, "completion_tokens": 1, "api_requests": 2, "cache_read_input_tokens": 1},
        "otel_genai": export(span(1, **usage(10, 5, **{"cache_read.input_tokens": 3}))),
        "langfuse": seen(metadata={"team": "a"}, tags=["a:b"]),
    }[name]  # fmt: skip
    if name == "litellm":
        good |= {"request_id": "r", "prompt_tokens": 9, "messages": sample.CANARY}
    lines = [json.dumps(hostile(rng, good)) for _ in range(300)]
    lines[::7] = [line[: rng.randrange(1, len(line))] for line in lines[::7]]
    lines[::11] = [line.replace("10", "NaN").replace("5", "Infinity") for line in lines[::11]]
    rows = parse(tmp_path, "\n".join(lines).encode(), "a.jsonl", format=name)
    assert {row["reject"] is None for row in rows} == {True, False}
    if name.startswith("litellm"):
        assert [row["source_row"] for row in rows] == list(range(1, 301))
    cut = {n for n, line in enumerate(lines, 1) if not _is_object(line)}
    assert {row["source_row"] for row in rows if row["reject"] == "bad_json"} >= cut
    assert sample.CANARY not in repr(rows)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@pytest.mark.parametrize("form", ["otel_genai", "langfuse"])
def test_fields_of_traces_may_have_words_or_a_value(tmp_path: Path, form: str) -> None:
    fields = {"gateway_team": {"column": "team.id", "map": {"s": "team-search"}}, "environment": {"value": "production"}}
    if form == "otel_genai":
        (row,) = otel(tmp_path, export(span(1, **{"team.id": "s"})), fields=fields)
    else:
        (row,) = langfuse(tmp_path, seen(metadata={"team.id": "s"}), fields=fields)
    assert (row["reject"], row["gateway_team"], row["environment"]) == (None, "team-search", "production")


def test_fields_of_traces_are_context_and_never_name_a_body() -> None:
    ok = {"name": "a", "format": "otel_genai", "fields": {"gateway_team": "team.id"}}
    assert Gateway(**ok).fields == {"gateway_team": "team.id"}
    assert Gateway(**ok | {"fields": {"system_prompt_tokens": "app.prompt.system_tokens"}}).fields
    for wrong, why in (
        (ok | {"format": "litellm"}, "reads no `fields`"),
        (ok | {"fields": {"project": {"column": "gen_ai.output.messages"}}}, "never read"),
        (ok | {"fields": {"project": "gen_ai.input.messages"}}, "never read"),
        (ok | {"fields": {"project": "gen_ai.prompt.0.content"}}, "never read"),
        (ok | {"fields": {"system_prompt_tokens": "gen_ai.system.prompt"}}, "never read"),
        (ok | {"fields": {"project": "app.prompt.system_tokens"}}, "never read"),
        (ok | {"fields": {"input_tokens": "x"}}, "gateway_team"),
    ):
        with pytest.raises(ValueError, match=why):
            Gateway(**wrong)
