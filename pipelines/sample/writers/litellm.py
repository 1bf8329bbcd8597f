"""LiteLLM `StandardLoggingPayload`, one JSON object per line, as its bucket loggers write it.

Native quirks kept: `prompt_tokens` contains cached and cache-writing tokens, `completion_tokens` contains reasoning,
`response_cost` is a float at list price, times are float seconds, a hit in the gateway's cache carries full token
counts with cost 0, a failure carries cost 0 whatever it used, and every line carries a prompt and an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC
from typing import Any

from pipelines.sample import company
from pipelines.sample.company import CANARY, LOGGED_AS
from pipelines.sample.traffic import api_key_hash
from pipelines.sample.truth import Event

PROVIDERS = {"google": "gemini", "aws": "bedrock"}  # the gateway's own names; elsewhere ours
CALL_TYPES = {"chat": "acompletion", "embedding": "aembedding"}


def write(events: Iterable[Event]) -> bytes:
    """The events in the given order; a repeated event is a repeated line."""
    return "".join(line(event) + "\n" for event in events).encode()


def line(event: Event) -> str:
    return json.dumps(payload(event), separators=(",", ":"))


def payload(event: Event) -> dict[str, Any]:
    """One event as the gateway logs it."""
    start = round(event.at.replace(tzinfo=UTC).timestamp(), 3)
    seconds = event.latency_ms / 1000
    usage = _usage(event)
    cost = _float_cost(event)
    billed = event.status == "success" and not event.cached
    failed = event.status == "failure"
    model = LOGGED_AS.get(event.model or "", event.model)
    return {
        "id": event.event_id,
        "trace_id": event.trace_id,
        "session_id": event.session_id,
        "call_type": CALL_TYPES.get(event.operation, "acompletion"),
        "cache_hit": event.cached,
        "stream": event.request_type == "interactive",
        "status": event.status,
        "custom_llm_provider": PROVIDERS.get(event.provider, event.provider),
        "saved_cache_cost": cost if event.cached else 0.0,
        "startTime": start,
        "endTime": round(start + seconds, 3),
        "completionStartTime": round(start + seconds / 3, 3),
        "response_time": seconds,
        "model": model,
        "model_group": event.model,
        "response_cost": cost if billed else 0.0,
        "total_tokens": usage["total_tokens"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "metadata": _metadata(event, usage),
        "end_user": event.customer_id or "",
        "messages": [{"role": "user", "content": f"{CANARY}: please look at note {event.event_id[-6:]}"}],
        "response": {"choices": [{"message": {"content": f"{CANARY}: looked at it"}}]},
        "error_information": {"error_code": "500" if failed else "", "error_message": CANARY if failed else ""},
    }


def _system_prompt(event: Event) -> int | None:
    """What the few callers that count their system prompt say."""
    percent = company.SYSTEM_PROMPTS.get(event.project or "")
    asked = event.input_uncached + event.cache_read + event.cache_write_5m + event.cache_write_1h
    return max(asked, 0) * percent // 100 if percent else None


def _metadata(event: Event, usage: dict[str, Any]) -> dict[str, Any]:
    requester = {
        "environment": event.environment,
        "application": event.application,
        "customer_id": event.customer_id,
        "user_tier": event.user_tier,
        "request_type": event.request_type,
        "triggered_by": event.triggered_by and f"team-{event.triggered_by}",
        "vector_index_id": event.vector_index_id,
        "session_id": event.session_id,
    }
    logged = {"routing_reason": event.routing_reason, "quality_score": event.quality_score, "system_prompt_tokens": _system_prompt(event)}
    return {
        "user_api_key_hash": event.api_key and api_key_hash(event.api_key),
        "user_api_key_alias": event.api_key,
        "user_api_key_team_id": event.gateway_team,
        "user_api_key_team_alias": event.gateway_team,
        "user_api_key_project_id": event.project,
        "user_api_key_user_email": None,
        "requester_metadata": {name: value for name, value in requester.items() if value is not None},
        "spend_logs_metadata": {name: value for name, value in logged.items() if value is not None} or None,
        "attempted_retries": event.attempt - 1,
        "usage_object": usage,
    }


def _usage(event: Event) -> dict[str, Any]:
    """Inclusive token counts; Anthropic's cache writes by lifetime."""
    prompt = event.avoided_input if event.cached else event.input_total
    completion = event.avoided_output if event.cached else event.output_total
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": event.cache_read},
    }
    if event.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": event.reasoning}
    if event.provider == "anthropic":
        written = event.cache_write_5m + event.cache_write_1h
        usage["cache_read_input_tokens"] = event.cache_read
        usage["cache_creation_input_tokens"] = written
        if event.event_id[-1] == "7":  # streamed answers: the details say 0, the vendor's own field is right
            usage["prompt_tokens_details"] = {"cached_tokens": 0}
        if written:
            usage["prompt_tokens_details"]["cache_creation_token_details"] = {
                "ephemeral_5m_input_tokens": event.cache_write_5m,
                "ephemeral_1h_input_tokens": event.cache_write_1h,
            }
    return usage


def _float_cost(event: Event) -> float:
    """What the gateway believes it cost: list price in binary floating point; 0.0 where it knows no price."""
    meters = event.meters() or [("input_uncached", event.avoided_input), ("output", event.avoided_output)]
    total = 0.0
    for meter, tokens in meters:
        price = company.list_price(event.provider, event.model or "", meter, event.long)
        total += tokens * (float(price) / 1e6) if price is not None else 0.0
    return total
