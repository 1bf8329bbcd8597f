"""Envoy AI Gateway: its access log as JSON lines, under the names its documentation gives the keys.

Operators choose the keys of this log, and a team is only in it under a header they map: `fields` in sources.yaml says
where. Token counts are inclusive: the gateway adds cached tokens to the input of vendors that count them apart. Calls of
MCP servers are rejected, they are no calls of a model. A backend is `namespace/name/route/...`: the provider is its name,
or what `fields: {provider: {column: gen_ai.provider.name, map: {...}}}` makes of it. The log has no cost.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Call, Log

FORMAT = Log(
    name="envoy",
    inclusive=True,
    texts={
        "event_id": "x-request-id",
        "occurred_at": "start_time",
        "provider": "gen_ai.provider.name",
        "model_as_logged": ("gen_ai.response.model", "gen_ai.request.model_override", "gen_ai.request.model"),
        "operation": ("x-envoy-origin-path", "x-envoy-original-path", ":path", "path"),
        "session_id": "session.id",
        "status": "response_code",
        "latency_ms": "duration",
        "input_tokens": "gen_ai.usage.input_tokens",
        "cache_read_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cached_input_tokens"),
        "cache_write_5m_tokens": ("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens"),
        "output_tokens": "gen_ai.usage.output_tokens",
        "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
        "total": "gen_ai.usage.total_tokens",
        "mcp": ("mcp.method.name", "mcp.provider.name"),
    },
    made={
        "provider": "if(contains(provider, '/route/'), split_part(provider, '/', 2), provider)",
        "operation": "operation_of(operation)",
        "status": "http_outcome(status)",
    },
    calls=(Call(when="mcp is null and (coalesce(model_as_logged, input_tokens) is not null or operation_of(operation) <> 'other')"),),
    refuse={
        "tokens_not_disjoint": "whole_number(total) and count_of(total) < added(input_tokens, output_tokens)",
    },
    nothing=("", "-"),
).format()
