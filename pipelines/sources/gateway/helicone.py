"""Helicone: rows of its ClickHouse table `request_response_rmt`, one JSON object per line (format JSONEachRow).

Token counts are exclusive: the prompt has no cached tokens, the completion no reasoning. `cost` counts billionths of a
dollar. The table keeps versions of a row until it merges them: the greatest `updated_at` of a request counts. A
`cache_reference_id` other than zeros names the earlier answer that the gateway's cache gave again. Team and business
context are the caller's properties; bodies are never selected.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Log, context

FORMAT = Log(
    name="helicone",
    inclusive=False,
    texts={
        **context("properties"),
        "event_id": "request_id",
        "event_version": "updated_at",
        "occurred_at": "request_created_at",
        "api_key_id": "proxy_key_id",
        "provider": "provider",
        "model_as_logged": "model",
        "operation": "target_url",
        "trace_id": ("properties.Helicone-Session-Id", "properties.session_id"),
        "session_id": ("properties.Helicone-Session-Id", "properties.session_id"),
        "status": "status",
        "gateway_cache": "cache_reference_id",
        "latency_ms": "latency",
        "input_tokens": "prompt_tokens",
        "cache_read_tokens": "prompt_cache_read_tokens",
        "cache_written": "prompt_cache_write_tokens",
        "cache_write_5m_tokens": "prompt_cache_write_5m",
        "cache_write_1h_tokens": "prompt_cache_write_1h",
        "output_tokens": "completion_tokens",
        "reasoning_tokens": "reasoning_tokens",
        "audio_input_tokens": "prompt_audio_tokens",
        "audio_output_tokens": "completion_audio_tokens",
        "source_cost": "cost",
    },
    made={
        "operation": "operation_of(operation)",
        "status": "http_outcome(status)",
        "gateway_cache": "case when regexp_matches(gateway_cache, '[1-9a-f]') then 'exact' end",
        "cache_write_5m_tokens": "coalesce(less(cache_written, cache_write_1h_tokens), cache_write_5m_tokens)",
        "source_cost": "nullif(rounded(plain(source_cost, -9)), 0)",
    },
    refuse={"tokens_not_disjoint": "cache_written is not null and count_of(cache_write_1h_tokens) > count_of(cache_written)"},
    opened=("properties",),
).format()
