"""Cloudflare AI Gateway: rows of its Logs API, and Logpush events (`ai_gateway_events`), as JSON lines.

Token counts are taken as inclusive; the log has no cached tokens, so cache meters are unknown and stand inside the input.
`cost` is Cloudflare's own estimate in dollars. Logpush has no token counts and no id: such an event counts a request
(not metered), its id is made of its content. Encrypted bodies and metadata are never read; metadata in plain text gives
team and business context. Land one of the two for a gateway: they name the same calls differently.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Log, context

FORMAT = Log(
    name="cloudflare",
    inclusive=True,
    texts={
        **context("metadata", "Metadata"),
        "event_id": "id",
        "occurred_at": ("created_at", "Timestamp"),
        "provider": ("provider", "Provider"),
        "model_as_logged": ("model", "Model"),
        "model_type": "model_type",
        "operation": ("path", "Endpoint"),
        "attempt": "step",
        "status": ("status_code", "StatusCode"),
        "succeeded": "success",
        "gateway_cache": ("cached", "Cached"),
        "latency_ms": ("duration", "Metrics.durationMs"),
        "input_tokens": "tokens_in",
        "output_tokens": "tokens_out",
        "source_cost": ("cost", "Metrics.cost"),
        "routing_reason": ("metadata.routing_reason", "RoutingReason"),
    },
    made={
        "operation": "coalesce(nullif(operation_of(operation), 'other'), operation_of(model_type))",
        "attempt": "count_of(attempt) + 1",  # step 0 is the first attempt
        "status": "case when lower(succeeded) = 'false' then 'failure' else http_outcome(status) end",
        "source_cost": "nullif(rounded(plain(source_cost, 0)), 0)",
    },
    opened=("metadata", "Metadata"),
    made_ids=True,
).format()
