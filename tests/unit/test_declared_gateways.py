"""Gateways that are read by a declaration: each gives back the truth, rejects what contradicts itself, and reads no body."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines import sample
from pipelines.sample.truth import Event
from pipelines.sample.writers.mapped import moment
from tests.reading import METERS, parse, tokens
from tests.unit.test_gateway_readers import SAMPLES, TRUTH

Json = dict[str, Any]
BODY = {"messages": [{"role": "user", "content": sample.CANARY}], "choices": [{"message": sample.CANARY}]}
EVENTS = [e for e in TRUTH.events if e.input_uncached >= 0 and e.operation in ("chat", "embedding")][:400]
assert {e.cached for e in EVENTS} == {True, False} and any(e.cache_write_1h for e in EVENTS) and any(e.reasoning for e in EVENTS)
HELD = ("project", "application", "environment", "customer_id", "user_tier", "request_type", "session_id", "routing_reason")


def read(tmp_path: Path, format_: str, *records: Any, **entry: Any) -> list[Json]:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return parse(tmp_path, "\n".join(lines).encode(), "a.jsonl", format=format_, **entry)


# --- how each gateway writes an event -------------------------------------------------------------------------------


def total_in(event: Event) -> int:
    return event.avoided_input if event.cached else event.input_total


def total_out(event: Event) -> int:
    return event.avoided_output if event.cached else event.output_total


def keys(event: Event) -> Json:
    """What a caller says about a call: team and business context."""
    said = {name: getattr(event, name) for name in (*HELD, "quality_score", "vector_index_id")}
    said |= {"team": event.gateway_team, "triggered_by": event.triggered_by and f"team-{event.triggered_by}"}
    return {name: value for name, value in said.items() if value is not None}


def code(event: Event) -> int:
    return 200 if event.status == "success" else 500


PATHS = {"chat": "/v1/chat/completions", "embedding": "/v1/embeddings"}


def helicone(e: Event) -> Json:
    return {
        "request_id": e.event_id, "request_created_at": f"{e.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], "updated_at": "2026-10-03 12:00:04.000",
        "latency": e.latency_ms, "status": code(e), "model": e.model, "provider": e.provider.upper(), "proxy_key_id": e.api_key,
        "prompt_tokens": e.avoided_input if e.cached else e.input_uncached, "prompt_cache_read_tokens": e.cache_read,
        "prompt_cache_write_tokens": e.cache_write_5m + e.cache_write_1h, "prompt_cache_write_1h": e.cache_write_1h,
        "completion_tokens": e.avoided_output if e.cached else e.output, "reasoning_tokens": e.reasoning, "cost": 1_500_000_000,
        "cache_reference_id": f"{'5' if e.cached else '0'}0000000-0000-0000-0000-000000000000",
        "target_url": f"https://x{PATHS[e.operation]}",
        "properties": keys(e), "request_body": BODY, "response_body": sample.CANARY,
    }  # fmt: skip


def portkey(e: Event) -> Json:
    usage = {
        "cache_read_input_tokens": e.cache_read, "cache_creation_input_tokens": e.cache_write_5m + e.cache_write_1h,
        "cache_creation": {"ephemeral_1h_input_tokens": e.cache_write_1h}, "completion_tokens_details": {"reasoning_tokens": e.reasoning},
    }  # fmt: skip
    return {
        "id": e.event_id, "trace_id": e.trace_id, "created_at": moment(e), "ai_org": e.provider, "ai_model": e.model,
        "req_units": total_in(e), "res_units": total_out(e), "total_units": total_in(e) + total_out(e), "cost": 0.0245,
        "cost_currency": "USD", "response_time": e.latency_ms, "response_status_code": code(e), "metadata": keys(e),
        "request_url": f"https://x{PATHS[e.operation]}", "request": BODY, "response": {**BODY, "usage": usage},
    }  # fmt: skip


def kong(e: Event) -> Json:
    usage = {
        "prompt_tokens": total_in(e), "prompt_tokens_details": {"cached_tokens": e.cache_read}, "completion_tokens": total_out(e),
        "completion_tokens_details": {"reasoning_tokens": e.reasoning}, "total_tokens": total_in(e) + total_out(e), "cost": 0.002,
    }  # fmt: skip
    ai: Json = {"payload": {"request": BODY}, "proxy": {"payload": {"response": sample.CANARY}, "usage": usage}}
    ai["proxy"]["meta"] = {"response_model": e.model, "provider_name": e.provider}
    ai["proxy"]["cache"] = {"cache_status": "Hit" if e.cached else "Miss"}
    return {
        "request": {"id": e.event_id, "uri": PATHS[e.operation], "body": BODY}, "response": {"status": code(e)}, "ai": ai,
        "latencies": {"request": e.latency_ms}, "consumer": {"username": e.gateway_team}, "authenticated_entity": {"id": e.api_key},
        "started_at": round((e.at - datetime(1970, 1, 1)).total_seconds() * 1000),
    }  # fmt: skip


def envoy(e: Event) -> Json:
    return {
        "x-request-id": e.event_id, "start_time": moment(e), "duration": str(e.latency_ms), "response_code": code(e),
        "gen_ai.provider.name": f"default/{e.provider}/route/r/rule/0/ref/0", "gen_ai.request.model": e.model,
        "session.id": e.session_id or "-",
        "gen_ai.usage.input_tokens": str(total_in(e)), "gen_ai.usage.cached_input_tokens": e.cache_read,
        "gen_ai.usage.cache_creation_input_tokens": e.cache_write_5m + e.cache_write_1h, "gen_ai.usage.output_tokens": total_out(e),
        "gen_ai.usage.reasoning_tokens": e.reasoning, "gen_ai.usage.total_tokens": total_in(e) + total_out(e),
        "x-envoy-origin-path": PATHS[e.operation], "x-team": e.gateway_team, "x-prompt": sample.CANARY,
    }  # fmt: skip


def cloudflare(e: Event) -> Json:
    return {
        "id": e.event_id, "created_at": moment(e), "provider": e.provider, "model": e.model, "path": f"x{PATHS[e.operation]}",
        "tokens_in": total_in(e), "tokens_out": total_out(e), "cost": 6.45e-06, "cached": e.cached, "duration": e.latency_ms,
        "success": e.status == "success", "status_code": code(e), "step": e.attempt - 1, "metadata": json.dumps(keys(e)),
        "request_body": sample.CANARY, "RequestBody": {"key": "a2V5", "iv": "aXY=", "data": sample.CANARY},
    }  # fmt: skip


def bedrock(e: Event) -> Json:
    lifetimes = {"ephemeral_5m_input_tokens": e.cache_write_5m, "ephemeral_1h_input_tokens": e.cache_write_1h}
    streamed = [{"type": "message_start", "message": {"content": sample.CANARY, "usage": {"cache_creation": lifetimes}}}]
    return {
        "schemaType": "ModelInvocationLog", "timestamp": moment(e), "accountId": "111111111111", "region": "us-east-1",
        "requestId": e.event_id, "operation": "InvokeModel", "modelId": e.model, "identity": {"arn": "arn:aws:iam::1:user/u"},
        "requestMetadata": keys(e), **({} if e.status == "success" else {"errorCode": "ThrottlingException"}),
        "input": {"inputTokenCount": e.input_uncached, "cacheReadInputTokenCount": e.cache_read, "inputBodyJson": BODY,
                  "cacheWriteInputTokenCount": e.cache_write_5m + e.cache_write_1h},
        "output": {"outputTokenCount": e.output_total, "outputBodyJson": streamed},
    }  # fmt: skip


def azure_apim(e: Event) -> Json:
    return {
        "TimeGenerated": moment(e), "CorrelationId": e.event_id, "SequenceNumber": 0, "ModelName": e.model, "PromptTokens": total_in(e),
        "CompletionTokens": total_out(e), "TotalTokens": total_in(e) + total_out(e), "RequestMessages": json.dumps(BODY),
        "OperationName": {"chat": "ChatCompletions_Create", "embedding": "Embeddings_Create"}[e.operation], "Region": "East US",
        "ApimSubscriptionId": e.gateway_team, "ResponseCode": code(e), "TotalTime": e.latency_ms, "Cache": "hit" if e.cached else "none",
    }  # fmt: skip


def known(event: Event, meters: Iterable[str]) -> tuple[int, ...]:
    """The meters as a log can tell them: what it has no field for stands in uncached input, or in output."""
    found = {meter: getattr(event, meter) for meter in METERS}
    for meter in set(METERS[1:4]) - set(meters):
        found["input_uncached"] += found[meter]
        found[meter] = 0
    if "reasoning" not in meters:
        found["output"] += found["reasoning"]
        found["reasoning"] = 0
    if {"cache_write_5m", "cache_write_1h"} - set(meters) == {"cache_write_1h"}:  # the total is told, not the lifetime
        found["cache_write_5m"], found["input_uncached"] = event.cache_write_5m + event.cache_write_1h, event.input_uncached
    return tuple(found[meter] for meter in METERS)


Case = tuple[str, Callable[[Event], Json], tuple[str, ...], tuple[str, ...]]
CASES: list[Case] = [  # format, writer, meters it tells, context it carries
    ("helicone", helicone, METERS, HELD),
    ("portkey", portkey, METERS[:6], HELD),
    ("kong", kong, ("input_uncached", "cache_read", "output", "reasoning"), ()),
    ("envoy", envoy, ("input_uncached", "cache_read", "cache_write_5m", "output", "reasoning"), ("session_id",)),
    ("cloudflare", cloudflare, ("input_uncached", "output"), HELD),
    ("bedrock", bedrock, METERS[:5], HELD),
    ("azure_apim", azure_apim, ("input_uncached", "output"), ()),
]
BY_NAME = {name: write for name, write, _, _ in CASES}
NO_CACHE = ("portkey", "envoy", "bedrock")  # these logs say nothing of the gateway's own cache


@pytest.mark.parametrize("name, write, meters, held", CASES, ids=[case[0] for case in CASES])
def test_the_truth_comes_back(
    tmp_path: Path, name: str, write: Callable[[Event], Json], meters: tuple[str, ...], held: tuple[str, ...]
) -> None:
    events = [e for e in EVENTS if not (e.cached and name in NO_CACHE)]
    data = gzip.compress("".join(json.dumps(write(e)) + "\n" for e in events).encode())
    extra = {"fields": {"gateway_team": "x-team"}} if name == "envoy" else {}
    rows = parse(tmp_path, data, "a.json.gz", format=name, **extra)
    assert Counter(row["reject"] for row in rows) == {None: len(events)}
    for row, event in zip(rows, events, strict=True):
        assert tokens(row) == known(event, meters), event
        assert row["event_id"].removeprefix("111111111111/us-east-1/") == event.event_id
        assert (row["occurred_at"], row["model_as_logged"], row["status"]) == (event.at, event.model, event.status)
        assert (row["operation"], row["gateway_team"]) == (event.operation, event.gateway_team)
        assert row["gateway_cache"] == ("exact" if event.cached else "none")
        assert {n: row[n] for n in held} == {n: getattr(event, n) for n in held}
        assert row["latency_ms"] == (None if name == "bedrock" else event.latency_ms)
        assert row["requests"] == (0 if event.cached else 1)
        assert sample.CANARY not in repr(row)
        if "customer_id" in held:
            assert row["quality_score"] == (event.quality_score and Decimal(event.quality_score))
            assert row["triggered_by"] == (event.triggered_by and f"team-{event.triggered_by}")


ONE = next(e for e in EVENTS if e.cache_write_1h and e.operation == "chat")


def changed(name: str, **changes: Any) -> Json:
    """An ordinary record with some values changed: `a__b` is b inside a."""
    record = BY_NAME[name](ONE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = record
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return record


BROKEN = [
    ("helicone", {"prompt_cache_write_tokens": 0}, "tokens_not_disjoint"),
    ("helicone", {"prompt_tokens": -3}, "negative_tokens"),
    ("helicone", {"status": "broken"}, "bad_status"),
    ("helicone", {"request_id": None}, "missing_event_id"),
    ("portkey", {"response__usage__cache_read_input_tokens": 10**7}, "tokens_not_disjoint"),
    ("portkey", {"response__usage__cache_creation_input_tokens": 0}, "tokens_not_disjoint"),
    ("portkey", {"total_units": 1}, "tokens_not_disjoint"),
    ("portkey", {"res_units": 1.5}, "tokens_not_integer"),
    ("kong", {"ai__proxy__usage__prompt_tokens_details": {"cached_tokens": 10**7}}, "tokens_not_disjoint"),
    ("kong", {"ai__proxy__usage__total_tokens": 1}, "tokens_not_disjoint"),
    ("kong", {"started_at": "soon"}, "bad_timestamp"),
    ("kong", {"ai": ...}, "not_a_model_call"),
    ("envoy", {"gen_ai.usage.cached_input_tokens": 10**7}, "tokens_not_disjoint"),
    ("envoy", {"gen_ai.usage.total_tokens": 1}, "tokens_not_disjoint"),
    ("envoy", {"mcp.method.name": "tools/call"}, "not_a_model_call"),
    ("cloudflare", {"tokens_in": 10**13}, "absurd_tokens"),
    ("cloudflare", {"created_at": None}, "bad_timestamp"),
    ("bedrock", {"input__cacheWriteInputTokenCount": 0}, "tokens_not_disjoint"),
    ("bedrock", {"requestId": ""}, "missing_event_id"),
    ("bedrock", {"input__inputTokenCount": True}, "tokens_not_integer"),
    ("azure_apim", {"TotalTokens": 1}, "tokens_not_disjoint"),
    ("azure_apim", {"SequenceNumber": 2}, "message_part"),
    ("azure_apim", {"PromptTokens": None, "CompletionTokens": None, "SequenceNumber": None}, "not_a_model_call"),
]


@pytest.mark.parametrize("name, changes, reason", BROKEN, ids=[f"{n}-{name}-{reason}" for n, (name, _, reason) in enumerate(BROKEN)])
def test_what_contradicts_itself_is_rejected_alone(tmp_path: Path, name: str, changes: Json, reason: str) -> None:
    rows = read(tmp_path, name, BY_NAME[name](EVENTS[0]), "", changed(name, **changes), BY_NAME[name](EVENTS[1]))
    assert [(row["source_row"], row["reject"]) for row in rows] == [(1, None), (3, reason), (4, None)]


HOSTILE = [
    '{"id": "cut off', "[]", "null", '"text"', "{}", '{"request": null, "input": 7, "ai": [1], "properties": "x"}', "{\"a\": NaN}",
    '{"id": "\\ud800"}', json.dumps({"id": "\u202e\U0001f4a5\u0000"}), '{"id": 1, "id": 2}', '{"a":' * 900 + "1" + "}" * 900,
]  # fmt: skip
VALUES = [None, "", "-", "NaN", float("inf"), -1, 10**400, 1e308, True, [], {}, [[1]], {"a": {}}, "'; drop table parsed; --",
          "\U0001f4a5" * 50]  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_crashes_and_every_line_is_accounted_for(tmp_path: Path, name: str) -> None:
    records: list[Any] = list(HOSTILE)
    for key in BY_NAME[name](ONE):
        records += [{**BY_NAME[name](ONE), key: value} for value in VALUES]
        records.append({k: v for k, v in BY_NAME[name](ONE).items() if k != key})
        records.append(json.dumps(BY_NAME[name](ONE))[:-20])
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    data = "\n".join(lines).encode() + b'\n{"id": "\xff\xfe"}'
    records.append("not UTF-8")
    rows = parse(tmp_path, data, "a.jsonl", format=name)
    assert sample.CANARY not in repr(rows)
    assert {row["source_row"] for row in rows} == set(range(1, len(records) + 1))
    assert len(rows) == len(records)  # none of these lines holds two calls
    assert {"bad_json", None} <= {row["reject"] for row in rows}
    assert all(row[f"{meter}_tokens"] >= 0 for row in rows if row["reject"] is None for meter in METERS)


def test_a_source_may_say_better_where_a_field_stands(tmp_path: Path) -> None:
    profile = "arn:aws:bedrock:us-east-1:1:application-inference-profile/p1"
    fields = {
        "gateway_team": "requestMetadata.squad",
        "model": {"column": "modelId", "map": {profile: "anthropic.claude-sonnet-4"}},
        "environment": {"value": "prod'; --"},
    }
    record = changed("bedrock", requestMetadata={"squad": "search", "team": "other"}, modelId=profile)
    model = changed("bedrock", modelId="arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0")
    rows = read(tmp_path, "bedrock", record, model, fields=fields)
    assert [(r["gateway_team"], r["model_as_logged"], r["inference_profile"], r["environment"]) for r in rows] == [
        ("search", "anthropic.claude-sonnet-4", profile, "prod'; --"),
        (None, "amazon.nova-lite-v1:0", None, "prod'; --"),
    ]


def test_a_company_whose_log_counts_exclusively_says_so(tmp_path: Path) -> None:
    record = changed("envoy", **{"gen_ai.usage.input_tokens": 5, "gen_ai.usage.cached_input_tokens": 7})
    (inclusive,) = read(tmp_path, "envoy", record, tokens="inclusive")
    (exclusive,) = read(tmp_path, "envoy", record, tokens="exclusive")
    assert inclusive["reject"] == "tokens_not_disjoint"
    assert (exclusive["reject"], exclusive["input_uncached_tokens"], exclusive["cache_read_tokens"]) == (None, 5, 7)


@pytest.mark.parametrize("name, changes, cost", [
    ("helicone", {"cost": 23_686_250}, "0.023686250000"), ("helicone", {"cost": 1}, "0.000000001000"), ("helicone", {"cost": 0}, None),
    ("portkey", {"cost": 0.0245}, "0.000245000000"), ("portkey", {"cost": 1e-9}, "0.000000000010"), ("portkey", {"cost": 0}, None),
    ("portkey", {"cost_currency": "EUR"}, None), ("cloudflare", {"cost": 6.45e-06}, "0.000006450000"), ("kong", {}, "0.002000000000"),
])  # fmt: skip
def test_what_the_source_says_it_cost_is_in_dollars_and_zero_is_unknown(tmp_path: Path, name: str, changes: Json, cost: str | None) -> None:
    (row,) = read(tmp_path, name, changed(name, **changes))
    assert row["source_cost"] == (cost and Decimal(cost))


def test_properties_of_helicone_in_any_spelling_and_as_text(tmp_path: Path) -> None:
    said = {"Team": "search", "Customer-Id": "c1", "user-tier": "gold", "Helicone-Session-Id": "s-1"}
    rows = read(tmp_path, "helicone", changed("helicone", properties=said), changed("helicone", properties=json.dumps(said)))
    assert {(r["gateway_team"], r["customer_id"], r["user_tier"], r["session_id"]) for r in rows} == {("search", "c1", "gold", "s-1")}


def test_every_plugin_of_kong_and_the_embedding_of_a_question_are_events(tmp_path: Path) -> None:
    rag = {"injected": True, "embeddings_tokens": 62, "embeddings_provider": "openai", "embeddings_model": "text-embedding-3-small"}
    record = changed("kong", ai__proxy__usage__prompt_tokens_details={"cached_tokens": 0})
    record["ai"]["proxy"]["rag-inject"] = rag
    usage = {"prompt_token": 28, "completion_token": 20, "total_tokens": 48}
    record["ai"]["ai-request-transformer"] = {"usage": usage, "meta": {"provider_name": "azure", "request_model": "gpt-35"}}
    rows = read(tmp_path, "kong", record, record | {"request": {"id": "r2", "uri": "/x"}})
    assert [r["reject"] for r in rows] == [None] * 6 and [r["source_row"] for r in rows] == [1, 1, 1, 2, 2, 2]
    found = {r["event_id"]: (r["operation"], r["provider"], r["input_uncached_tokens"], r["output_tokens"]) for r in rows}
    assert found["r2/rag-inject"] == ("embedding", "openai", 62, 0) and found["r2/ai-request-transformer"] == ("chat", "azure", 28, 20)
    assert {r["gateway_team"] for r in rows} == {ONE.gateway_team} and len(found) == 6


def test_kongs_semantic_cache_is_told_from_its_exact_one(tmp_path: Path) -> None:
    rows = read(tmp_path, "kong", *(changed("kong", ai__proxy__cache=c) for c in (
        {"cache_status": "Hit", "embeddings_model": "e"}, {"cache_status": "Hit"}, {"cache_status": "Refresh"})))  # fmt: skip
    assert [(r["gateway_cache"], r["input_uncached_tokens"] == 0) for r in rows] == [("semantic", True), ("exact", True), ("none", False)]


def test_logpush_counts_requests_and_opens_nothing_encrypted(tmp_path: Path) -> None:
    sealed = {"key": "a2V5", "iv": "aXY=", "data": sample.CANARY}
    event = {"Gateway": "prod", "Provider": "openai", "Model": "gpt-4o-mini", "Endpoint": "chat/completions", "StatusCode": 200,
             "Cached": False, "Metadata": sealed, "RequestBody": sealed, "ResponseBody": sealed, "RoutingReason": "cheapest"}  # fmt: skip
    times = (1791028801123000000, "2026-10-03T12:00:01.123Z", 1791028801)
    hit = {**event, "Timestamp": times[0], "Cached": True}
    rows = read(tmp_path, "cloudflare", *({**event, "Timestamp": at} for at in times), event, hit)
    assert [r["reject"] for r in rows] == [None, None, None, "bad_timestamp", None]
    assert rows[0]["occurred_at"] == rows[1]["occurred_at"] == datetime(2026, 10, 3, 12, 0, 1, 123000)
    assert (rows[0]["requests"], rows[4]["gateway_cache"], rows[0]["routing_reason"], tokens(rows[0])) == (1, "exact", "cheapest", (0,) * 8)
    assert sample.CANARY not in repr(rows) and len({r["event_id"] for r in rows if r["reject"] is None}) == 4


def test_an_id_made_of_the_content_is_the_same_in_every_process() -> None:
    show = "from pipelines.sources.gateway.lines import LOGGED; print(*LOGGED)"
    shown = {subprocess.check_output([sys.executable, "-c", show], env={**os.environ, "PYTHONHASHSEED": seed}) for seed in "12"}
    assert len(shown) == 1


def test_bedrock_tells_embeddings_errors_batches_and_latency(tmp_path: Path) -> None:
    rows = read(
        tmp_path, "bedrock",
        changed("bedrock", output={}, input={"inputTokenCount": 5}, modelId="arn:aws:bedrock:us-east-1:1:application-inference-profile/p1"),
        changed("bedrock", input={}, output={}, errorCode="AccessDenied"),
        changed("bedrock", operation="CreateModelInvocationJob", requestMetadata={}),
        changed("bedrock", output={"outputTokenCount": 3, "outputBodyJson": {"metrics": {"latencyMs": 812}, "output": sample.CANARY}}),
        changed("bedrock", modelId="cohere.rerank-v3-5:0", input={}, output={}),
    )  # fmt: skip
    assert [r["reject"] for r in rows] == [None] * 5
    assert [r["operation"] for r in rows] == ["embedding", "chat", "chat", "chat", "rerank"]
    assert [r["status"] for r in rows] == ["success", "failure", "success", "success", "success"]
    assert (rows[2]["request_type"], rows[2]["service_tier"], rows[3]["latency_ms"]) == ("batch", "batch", 812)
    assert (rows[3]["cache_write_5m_tokens"], rows[3]["cache_write_1h_tokens"]) == (ONE.cache_write_5m + ONE.cache_write_1h, 0)
    assert (rows[0]["sub_account_id"], rows[0]["principal"]) == ("111111111111", "arn:aws:iam::1:user/u")


FOUND = [  # format, files, (event ids or reasons with uncached input and output)
    ("helicone", "helicone/*.jsonl", [(None, 86, 120)]),
    ("portkey", "portkey/*.jsonl", [(None, 14, 21), (None, 1000, 100), (None, 0, 0)]),
    ("kong", "kong/*.jsonl", [(None, 0, 0), (None, 62, 0)]),
    ("envoy", "envoy_ai_gateway/*.jsonl", [(None, 15, 7), ("not_a_model_call", 0, 0)]),
    ("cloudflare", "cloudflare/*.jsonl", [("bad_timestamp", 0, 0), (None, 15, 7)]),
    ("bedrock", "bedrock/invocation.jsonl", [(None, 25, 150), (None, 1, 8), (None, 0, 0), (None, 5, 0), (None, 3, 13)]),
    ("bedrock", "bedrock/AWSLogs/**/*.json.gz", [(None, 1, 8), (None, 0, 0), (None, 5, 0), (None, 3, 13)]),
    ("azure_apim", "azure/apim*.jsonl", [("message_part", 0, 0), ("message_part", 0, 0), (None, 14, 8), ("not_a_model_call", 0, 0)]),
]


@pytest.mark.parametrize("name, files, found", FOUND, ids=[case[1] for case in FOUND])
def test_the_sample_files(tmp_path: Path, name: str, files: str, found: list[tuple[str | None, int, int]]) -> None:
    paths = sorted((SAMPLES / "gateway").glob(files))
    if not paths:
        pytest.skip("the sample inputs are not beside this checkout")
    suffix = "jsonl.gz" if paths[0].name.endswith(".gz") else "jsonl"
    rows = [row for path in paths for row in parse(tmp_path, path.read_bytes(), f"a.{suffix}", format=name)]
    assert [(r["reject"], r["input_uncached_tokens"], r["output_tokens"]) for r in rows] == found


@pytest.mark.parametrize("as_text", [False, True])
def test_apim_rows_of_a_diagnostic_setting_say_the_same(tmp_path: Path, as_text: bool) -> None:
    events = [e for e in EVENTS if not e.cached][:20]
    rows = [azure_apim(e) for e in events]
    wrapped = []
    for row in rows:
        inner = {name[0].lower() + name[1:]: value for name, value in row.items() if name not in ("TimeGenerated", "CorrelationId")}
        outer = {"time": row["TimeGenerated"], "category": "GatewayLlmLogs", "correlationId": row["CorrelationId"], "prompt": sample.CANARY}
        wrapped.append({**outer, "properties": json.dumps(inner) if as_text else inner})
    found = read(tmp_path, "azure_apim", *wrapped)
    assert found == read(tmp_path, "azure_apim", *rows) and not any(row["reject"] for row in found)
    assert sample.CANARY not in repr(found)
    gateway_log = {"time": "2026-09-01T00:00:00Z", "category": "GatewayLogs", "correlationId": "c", "properties": {"totalTime": 5, "responseCode": 200}}
    assert [row["reject"] for row in read(tmp_path, "azure_apim", gateway_log)] == ["not_a_model_call"]


def test_kong_says_how_often_it_tried(tmp_path: Path) -> None:
    tried = [{"ip": "10.0.0.1", "code": 502}, {"ip": "10.0.0.2"}]
    rows = read(tmp_path, "kong", *({**kong(ONE), "tries": tries} for tries in (tried, tried[:1], [], None, "odd", {"a": 1})))
    assert [(row["attempt"], row["reject"], row["requests"]) for row in rows] == [(n, None, 1) for n in (2, 1, 1, 1, 1, 1)]
