"""Portkey: the logs export, one JSON object per line.

Token counts are inclusive: the units of a request contain cached tokens, those of a response reasoning; how many, only
the exported response says, if the export has it, and of it nothing but `usage` is read. `cost` is in cents, and 0 where
Portkey knows no price; adjustments of an administrator may be in it. Nothing tells of hits in Portkey's own cache. Team
and business context are the caller's metadata.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Log, context

FORMAT = Log(
    name="portkey",
    inclusive=True,
    texts={
        **context("metadata"),
        "event_id": "id",
        "occurred_at": "created_at",
        "provider": "ai_org",
        "model_as_logged": "ai_model",
        "operation": "request_url",
        "trace_id": "trace_id",
        "status": "response_status_code",
        "latency_ms": "response_time",
        "input_tokens": "req_units",
        "cache_read_tokens": ("response.usage.cache_read_input_tokens", "response.usage.prompt_tokens_details.cached_tokens"),
        "cache_written": "response.usage.cache_creation_input_tokens",
        "cache_write_1h_tokens": "response.usage.cache_creation.ephemeral_1h_input_tokens",
        "output_tokens": "res_units",
        "reasoning_tokens": "response.usage.completion_tokens_details.reasoning_tokens",
        "total": "total_units",
        "source_cost": "cost",
        "currency": "cost_currency",
    },
    made={
        "operation": "operation_of(operation)",
        "status": "http_outcome(status)",
        "cache_write_5m_tokens": "less(cache_written, cache_write_1h_tokens)",
        "source_cost": "case when coalesce(upper(currency), 'USD') = 'USD' then nullif(rounded(plain(source_cost, -2)), 0) end",
    },
    refuse={
        "tokens_not_disjoint": "count_of(cache_write_1h_tokens) > count_of(cache_written)"
        " or (whole_number(total) and count_of(total) <> added(input_tokens, output_tokens))",
    },
    opened=("metadata",),
).format()
