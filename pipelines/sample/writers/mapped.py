"""Logs that are read through a field map: an in-house proxy's CSV and a retrieval service's JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping

from pipelines.sample.company import CANARY
from pipelines.sample.truth import Event

Column = Callable[[Event], object]


def moment(event: Event) -> str:
    """UTC with milliseconds and a Z."""
    return f"{event.at:%Y-%m-%dT%H:%M:%S}.{event.at.microsecond // 1000:03d}Z"


PROXY_COLUMNS: Mapping[str, Column] = {  # tokens_in is inclusive: it contains cached_in
    "request_id": lambda e: e.event_id,
    "ts": moment,
    "team_header": lambda e: e.gateway_team,
    "project_header": lambda e: e.project,
    "env": lambda e: e.environment,
    "model_id": lambda e: e.model,
    "region": lambda e: e.region,
    "outcome": lambda e: "ok" if e.status == "success" else "error",
    "attempt": lambda e: e.attempt,
    "trace_id": lambda e: e.trace_id,
    "duration_ms": lambda e: e.latency_ms,
    "tokens_in": lambda e: e.input_total,
    "cached_in": lambda e: e.cache_read,
    "tokens_out": lambda e: e.output_total,
    "prompt_preview": lambda e: f"{CANARY}: first words, and a comma",
}
ALL_COLUMNS: Mapping[str, Column] = {  # everything, under the canonical names: tokens exclusive, reasoning apart
    "event_id": lambda e: e.event_id,
    "occurred_at": moment,
    "gateway_team": lambda e: e.gateway_team,
    "project": lambda e: e.project,
    "application": lambda e: e.application,
    "environment": lambda e: e.environment,
    "customer_id": lambda e: e.customer_id,
    "user_tier": lambda e: e.user_tier,
    "request_type": lambda e: e.request_type,
    "triggered_by": lambda e: e.triggered_by and f"team-{e.triggered_by}",
    "api_key_id": lambda e: e.api_key,
    "provider": lambda e: e.provider,
    "model": lambda e: e.model,
    "region": lambda e: e.region,
    "operation": lambda e: e.operation,
    "vector_index_id": lambda e: e.vector_index_id,
    "trace_id": lambda e: e.trace_id,
    "session_id": lambda e: e.session_id,
    "attempt": lambda e: e.attempt,
    "status": lambda e: e.status,
    "gateway_cache": lambda e: "exact" if e.cached else "none",
    "routing_reason": lambda e: e.routing_reason,
    "quality_score": lambda e: e.quality_score,
    "latency_ms": lambda e: e.latency_ms,
    "input_tokens": lambda e: e.input_uncached,
    "cache_read_tokens": lambda e: e.cache_read,
    "cache_write_5m_tokens": lambda e: e.cache_write_5m,
    "cache_write_1h_tokens": lambda e: e.cache_write_1h,
    "output_tokens": lambda e: e.output,
    "reasoning_tokens": lambda e: e.reasoning,
    "avoided_input_tokens": lambda e: e.avoided_input,
    "avoided_output_tokens": lambda e: e.avoided_output,
    "queries": lambda e: e.queries,
    "search_units": lambda e: e.read_units or e.write_units,
}


def write_csv(events: Iterable[Event], columns: Mapping[str, Column] = PROXY_COLUMNS) -> bytes:
    """A header and one row per event; nothing for None."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    for event in events:
        values = (value(event) for value in columns.values())
        rows.writerow(["" if value is None else value for value in values])
    return text.getvalue().encode()


def write_jsonl(events: Iterable[Event]) -> bytes:
    """The retrieval service's log: one flush of searches or writes per line."""
    return "".join(json.dumps(_record(event)) + "\n" for event in events).encode()


def _record(event: Event) -> dict[str, object]:
    owner = event.triggered_by and f"team-{event.triggered_by}"
    search = event.operation == "vector_query"
    return {
        "id": event.event_id,
        "at": moment(event),
        "caller": {"team": event.gateway_team, "project": event.project},
        "document": {"owner_team": owner},
        "kind": "search" if search else "upsert",
        "index": event.vector_index_id,
        "searches": event.queries,
        "units": event.read_units or event.write_units,
        "query_text": f"{CANARY}: where is it?" if search else None,
    }
