"""LiteLLM as it is really exported: spend logs with metadata inside a text, whole JSON documents, and daily rollups."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines import sample
from pipelines.errors import Refused
from pipelines.home import CHECKOUT
from pipelines.sample.writers import litellm as litellm_writer
from tests.reading import METERS, parse, tokens

TRUTH = sample.Truth.make(scale=0.02)
EVENTS = [event for event in TRUTH.of("litellm-prod") if event.input_uncached >= 0]
SAMPLES = CHECKOUT.parent / "shared" / "samples" / "gateway" / "litellm"


def spend_log(payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The row that the proxy's database keeps of a call it logged as `payload`."""
    meta = payload["metadata"]
    return {
        "request_id": payload["id"],
        "call_type": payload["call_type"],
        "api_key": meta["user_api_key_hash"] or "",
        "spend": payload["response_cost"],
        "total_tokens": payload["total_tokens"],
        "prompt_tokens": payload["prompt_tokens"],
        "completion_tokens": payload["completion_tokens"],
        "startTime": f"{datetime.fromtimestamp(payload['startTime'], UTC):%Y-%m-%d %H:%M:%S.%f}",
        "endTime": f"{datetime.fromtimestamp(payload['endTime'], UTC):%Y-%m-%d %H:%M:%S.%f}",
        "model": payload["model"],
        "custom_llm_provider": payload["custom_llm_provider"],
        "cache_hit": str(payload["cache_hit"]),
        "team_id": meta["user_api_key_team_id"] or "",
        "end_user": payload["end_user"],
        "session_id": payload["session_id"],
        "status": payload["status"],
        "request_tags": "[]",
        "messages": sample.CANARY,
        "response": sample.CANARY,
        "metadata": json.dumps({**meta, "error_information": sample.CANARY}),
        **changes,
    }


def of_lines(tmp_path: Path, *rows: Any, name: str = "a.jsonl", **entry: Any) -> list[dict[str, Any]]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return parse(tmp_path, "\n".join(lines).encode(), name, **{"format": "litellm", **entry})


def log(**changes: Any) -> dict[str, Any]:
    """A small spend log; `usage` and `meta` go into its metadata."""
    usage = {"prompt_tokens": 100, "completion_tokens": 50, **changes.pop("usage", {})}
    metadata = json.dumps({"usage_object": usage, **changes.pop("meta", {})})
    return {
        "request_id": "r1", "call_type": "acompletion", "api_key": "hash-1", "startTime": "2026-09-01 10:00:00", "model": "gpt-4o",
        "endTime": "2026-09-01 10:00:01.500", "prompt_tokens": usage["prompt_tokens"], "completion_tokens": usage["completion_tokens"],
        "cache_hit": "None", "metadata": metadata, "spend": 0.25, "status": "success", "team_id": "team-a",
    } | changes  # fmt: skip


def test_spend_logs_give_back_the_truth(tmp_path: Path) -> None:
    rows = of_lines(tmp_path, *(spend_log(litellm_writer.payload(event)) for event in EVENTS))
    same = ("event_id", "project", "application", "environment", "customer_id", "user_tier", "request_type", "operation", "status",
            "vector_index_id", "session_id", "attempt", "routing_reason", "gateway_team", "latency_ms")  # fmt: skip
    for row, event in zip(rows, EVENTS, strict=True):
        assert row["reject"] is None and tokens(row) == tuple(getattr(event, meter) for meter in METERS)
        assert {name: row[name] for name in same} == {name: getattr(event, name) for name in same}
        assert (row["occurred_at"], row["api_key_id"]) == (event.at, event.api_key)
    assert sample.CANARY not in repr(rows)


def test_payloads_and_spend_logs_may_share_a_file(tmp_path: Path) -> None:
    payload = litellm_writer.payload(EVENTS[0])
    a, b = of_lines(tmp_path, payload, spend_log(payload, request_id="other"))
    assert tokens(a) == tokens(b) and (a["event_id"], b["event_id"]) == (EVENTS[0].event_id, "other")


@pytest.mark.parametrize("indent", [None, 1])
def test_one_object_or_an_array_per_file(tmp_path: Path, indent: int | None) -> None:
    one = parse(tmp_path, json.dumps(log(), indent=indent).encode(), "one.json", format="litellm")
    many = parse(tmp_path, json.dumps([log(), 5, log(request_id="r2")], indent=indent).encode(), "many.json", format="litellm")
    assert [(row["event_id"], row["source_row"], row["reject"]) for row in one] == [("r1", 1, None)]
    assert [(row["event_id"], row["source_row"], row["reject"]) for row in many] == [("r1", 1, None), (None, 2, "bad_json"), ("r2", 3, None)]


def test_a_row_about_fetching_an_answer_used_nothing(tmp_path: Path) -> None:
    (row,) = of_lines(tmp_path, log(call_type="aget_responses", usage={"cache_read_input_tokens": 10}))
    assert row["reject"] is None and set(tokens(row)) == {0} and row["requests"] == 0 and row["operation"] == "other"


def test_the_key_the_team_and_the_tags_of_a_spend_log(tmp_path: Path) -> None:
    (plain,) = of_lines(tmp_path, log(request_tags='["application:search", "environment:prod"]', end_user="acme"))
    (named,) = of_lines(tmp_path, log(meta={"user_api_key_alias": "search-key", "user_api_key_team_alias": "Search"}))
    assert (plain["gateway_team"], plain["api_key_id"], plain["customer_id"]) == ("team-a", "hash-1", "acme")
    assert (plain["application"], plain["environment"], str(plain["source_cost"])) == ("search", "prod", "0.250000000000")
    assert (named["gateway_team"], named["api_key_id"]) == ("Search", "search-key")
    assert plain["latency_ms"] == 1500


@pytest.mark.parametrize(
    ("said", "known"), [(1200, 1200), ("1200", 1200), (0, 0), (None, None), ("You are a helpful", None), (-5, None), (1.5, None), (10**14, None)],
)
def test_the_tokens_of_the_system_prompt_are_a_count_or_not_known(tmp_path: Path, said: Any, known: int | None) -> None:
    (row,) = of_lines(tmp_path, log(meta={"requester_metadata": {"system_prompt_tokens": said}}))
    assert (row["system_prompt_tokens"], row["reject"]) == (known, None)
    (row,) = of_lines(tmp_path, log(meta={"requester_metadata": {"system_prompt_tokens": 7}, "spend_logs_metadata": {"system_prompt_tokens": said}}))
    assert row["system_prompt_tokens"] == (7 if said is None else known)


def test_a_later_row_of_the_same_call_is_a_newer_version(tmp_path: Path) -> None:
    rows = of_lines(tmp_path, log(updated_at="2026-09-01T10:00:05Z"), log(updated_at="2026-09-01 10:00:04.9"), log())
    assert rows[0]["event_version"] > rows[1]["event_version"] > rows[2]["event_version"] == ""


def test_usage_beside_the_usage_object_is_found(tmp_path: Path) -> None:
    beside = {"usage_object": None, "additional_usage_values": {"cache_read_input_tokens": 40, "prompt_tokens_details": None}}
    (row,) = of_lines(tmp_path, log(meta=beside))
    assert tokens(row)[:2] == (60, 40)


BAD_LOGS = [
    (log(metadata='{"usage_object": {'), "bad_metadata"),
    (log(request_id=""), "missing_event_id"),
    (log(startTime=None), "bad_timestamp"),
    (log(prompt_tokens=3, usage={"cache_creation_input_tokens": 12304}), "tokens_not_disjoint"),  # uncached input only: older versions
    (log(usage={"completion_tokens_details": {"reasoning_tokens": 51}}), "tokens_not_disjoint"),
]


@pytest.mark.parametrize("row, reason", BAD_LOGS)
def test_a_bad_spend_log_is_rejected_alone(tmp_path: Path, row: Any, reason: str) -> None:
    rows = of_lines(tmp_path, log(request_id="before"), row, log(request_id="after"))
    assert [r["reject"] for r in rows] == [None, reason, None]


def test_public_spend_logs(tmp_path: Path) -> None:
    path = SAMPLES / "spend_logs.jsonl"
    if not path.is_file():
        pytest.skip("the sample inputs are not beside this checkout")
    rows = parse(tmp_path, path.read_bytes(), "a.jsonl", format="litellm")
    assert [(row["reject"], tokens(row)[:6]) for row in rows] == [
        (None, (10, 0, 0, 0, 20, 0)), (None, (10, 66360, 32435, 0, 3410, 1710)), (None, (4, 2455, 0, 0, 23, 0)),
        (None, (20, 0, 0, 0, 296, 0)), (None, (0, 0, 0, 0, 0, 0)), (None, (0, 0, 0, 0, 0, 0)),
    ]  # fmt: skip


# daily rollups -------------------------------------------------------------------------------------------------------


def day(**changes: Any) -> dict[str, Any]:
    return {
        "id": "u-1", "team_id": "team-a", "date": "2026-09-01", "api_key": "hash-1", "model": "gpt-4o", "model_group": "gpt-4o",
        "custom_llm_provider": "openai", "endpoint": "/chat/completions", "prompt_tokens": 1000, "completion_tokens": 300,
        "cache_read_input_tokens": 600, "cache_creation_input_tokens": 100, "spend": 1.5, "api_requests": 12, "successful_requests": 11,
        "failed_requests": 1,
    } | changes  # fmt: skip


def daily(tmp_path: Path, *rows: Any) -> list[dict[str, Any]]:
    return of_lines(tmp_path, *rows, format="litellm_daily")


def test_a_rollup_row_is_one_event_of_many_requests(tmp_path: Path) -> None:
    (row,) = daily(tmp_path, day())
    assert (row["reject"], row["requests"], row["occurred_at"], row["status"]) == (None, 12, datetime(2026, 9, 1), "success")
    assert tokens(row)[:6] == (300, 600, 100, 0, 300, 0) and row["latency_ms"] is None
    assert (row["gateway_team"], row["api_key_id"], row["operation"]) == ("team-a", "hash-1", "chat")


def test_a_grown_rollup_row_replaces_the_earlier_one(tmp_path: Path) -> None:
    first, grown, other = daily(tmp_path, day(api_requests=9, successful_requests=8), day(api_requests=12), day(model="gpt-4o-mini"))
    assert first["event_id"] == grown["event_id"] != other["event_id"] and first["event_version"] < grown["event_version"]
    (old, new) = daily(tmp_path, day(updated_at="2026-09-01T12:00:00Z"), day(updated_at="2026-09-02T00:00:00Z"))
    assert old["event_id"] == new["event_id"] and old["event_version"] < new["event_version"]


def test_rollups_of_calls_give_back_their_sums(tmp_path: Path) -> None:
    calls = [e for e in EVENTS if not e.cached and e.gateway_team]
    sums: dict[tuple[Any, ...], list[int]] = {}
    for e in calls:
        total = sums.setdefault((e.day, e.gateway_team, e.api_key, e.provider, e.model), [0] * 6)
        counts = (1, e.status == "success", e.input_total, e.output_total, e.cache_read, e.cache_write_5m + e.cache_write_1h)
        total[:] = [a + b for a, b in zip(total, counts, strict=True)]
    rows = [
        day(date=str(d), team_id=team, api_key=key, custom_llm_provider=provider, model=model, api_requests=n, successful_requests=ok,
            failed_requests=n - ok, prompt_tokens=tin, completion_tokens=tout, cache_read_input_tokens=read, cache_creation_input_tokens=wrote)
        for (d, team, key, provider, model), (n, ok, tin, tout, read, wrote) in sums.items()
    ]  # fmt: skip
    parsed = daily(tmp_path, *rows)
    assert len({row["event_id"] for row in parsed}) == len(rows) and {row["reject"] for row in parsed} == {None}
    for meter in ("input_uncached", "cache_read"):
        assert sum(row[f"{meter}_tokens"] for row in parsed) == sum(getattr(e, meter) for e in calls)
    assert sum(row["cache_write_5m_tokens"] for row in parsed) == sum(e.cache_write_5m + e.cache_write_1h for e in calls)
    assert sum(row["output_tokens"] for row in parsed) == sum(e.output_total for e in calls)
    assert sum(row["requests"] for row in parsed) == len(calls)


BAD_DAYS = [
    (day(tag="prod", team_id=None), "tags_overlap"),
    (day(date="soon"), "bad_timestamp"),
    (day(date=None), "missing_event_id"),
    (day(api_requests=11), "requests_do_not_add_up"),
    (day(cache_read_input_tokens=901), "tokens_not_disjoint"),
    (day(prompt_tokens=None), "missing_counts"),
    (day(api_requests=-1), "requests_do_not_add_up"),
    ("[]", "bad_json"),
]


@pytest.mark.parametrize("row, reason", BAD_DAYS)
def test_a_bad_rollup_row_is_rejected(tmp_path: Path, row: Any, reason: str) -> None:
    assert [r["reject"] for r in daily(tmp_path, row)] == [reason]


def test_two_tables_of_the_same_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="DailyTeamSpend and DailyUserSpend together"):
        daily(tmp_path, day(), day(team_id=None, user_id="u"))


def test_a_rollup_csv_without_a_count_is_refused(tmp_path: Path) -> None:
    good = b"date,team_id,api_key,model,prompt_tokens,completion_tokens,cache_read_input_tokens,cache_creation_input_tokens,"
    good += b"api_requests,successful_requests,failed_requests\n2026-09-01,t,k,m,10,5,4,0,2,2,0\n"
    (row,) = parse(tmp_path, good, "a.csv", format="litellm_daily")
    assert tokens(row)[:2] == (6, 4) and row["requests"] == 2
    with pytest.raises(Refused, match="cache_read_input_tokens is missing"):
        parse(tmp_path, good.replace(b"cache_read_input_tokens,", b"other,"), "b.csv", format="litellm_daily")


def test_mapped_json_may_be_an_array_and_names_its_rows(tmp_path: Path) -> None:
    entry = {"format": "mapped", "file": "jsonl", "fields": {"event_id": "id", "occurred_at": "at", "input_tokens": "n"}}
    data = json.dumps([{"id": "a", "at": "2026-09-01T00:00:00Z", "n": 3}, {"id": "b", "at": None}], indent=2).encode()
    assert [(r["event_id"], r["input_uncached_tokens"], r["source_row"], r["reject"]) for r in parse(tmp_path, data, "a.json", **entry)] == [
        ("a", 3, 1, None), ("b", 0, 2, "bad_timestamp"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0.1234567890123456789", "0.123456789012"),
        ("12345678901234567890.123456", "12345678901234567890.123456"),
        ("12345678901234567890.123456789012", "12345678901234567890.123456789012"),
        ("0.000000000001", "0.000000000001"),
        ('"0.1234567890123456789"', "0.123456789012"),
    ],
)
def test_a_cost_keeps_the_digits_it_was_written_with(tmp_path: Path, written: str, read: str) -> None:
    payload = json.dumps(litellm_writer.payload(EVENTS[0]) | {"response_cost": "COST"}).replace('"COST"', written)
    logged = json.dumps(log(spend="COST")).replace('"COST"', written)
    for name, line in (("payload.jsonl", payload), ("log.jsonl", logged), ("whole.json", f"[{logged}]")):
        (row,) = of_lines(tmp_path, line, name=name)
        assert row["source_cost"] == Decimal(read), name


def test_each_model_that_a_call_went_through_is_an_event(tmp_path: Path) -> None:
    """In spend logs as in payloads; the last keeps the id. One that answered nothing is billed by nobody."""
    attempt = {"type": "message", "cache_creation_input_tokens": 0, "input_tokens": 7}
    iterations = [{**attempt, "model": "one", "output_tokens": 5}, {**attempt, "model": "two", "output_tokens": 0}, {**attempt, "model": "three", "output_tokens": 9, "cache_read_input_tokens": 4}]
    rows = of_lines(tmp_path, log(), log(request_id="several", usage={"iterations": iterations}), log(request_id="same", usage={"iterations": iterations[:1] * 2}))
    found = [(row["source_row"], row["event_id"], row["model_as_logged"], row["input_uncached_tokens"], row["cache_read_tokens"], row["output_tokens"]) for row in rows]
    assert found[1:] == [(2, "several/1", "one", 7, 0, 5), (2, "several", "three", 7, 4, 9), (3, "same", rows[0]["model_as_logged"], 100, 0, 50)]


def test_what_a_call_says_once_is_not_said_of_each_model(tmp_path: Path) -> None:
    """Audio, time and score of a call are its own; where a model has no counts the call's totals stay with the model that it names."""
    both = [{"model": "one", "input_tokens": 7, "output_tokens": 5}, {"model": "two", "input_tokens": 7, "output_tokens": 9}]
    usage = {"prompt_tokens_details": {"audio_tokens": 3}, "completion_tokens_details": {"audio_tokens": 4}}
    rows = of_lines(
        tmp_path, log(request_id="several", usage={**usage, "iterations": both}),
        log(request_id="uncounted", usage={"iterations": [both[0], {"model": "two", "prompt_tokens": 7}]}),
    )  # fmt: skip
    assert [(row["event_id"], row["reject"], row["audio_input_tokens"], row["audio_output_tokens"]) for row in rows] == [
        ("several/1", None, 0, 0), ("several", None, 0, 0), ("uncounted", None, 0, 0),
    ]  # fmt: skip
    assert rows[0]["latency_ms"] is None and rows[1]["latency_ms"] is not None
    assert (rows[2]["input_uncached_tokens"], rows[2]["output_tokens"]) == (100, 50)
