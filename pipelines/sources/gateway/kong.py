"""Kong AI Gateway: the records of any of Kong's log plugins as JSON lines, with the `ai` object of its AI plugins.

Every AI plugin of a request that called a model is an event: `request.id` the proxy, `request.id/<plugin>` the others.
The embedding of a question that `rag-inject` made is one too, `request.id/rag-inject`, paid by who asked. Token counts
are inclusive: the prompt contains cached and audio tokens, the completion reasoning and audio. A hit in the semantic or
exact cache carries the counts of the answer it gave again; what the cache's own embeddings took is not in the log.
`cost` comes from two prices in Kong's configuration, knows no caching and is 0 where nobody set them. Cache writes are
not in the log. Kong writes one record for all upstream `tries` of a request: it is the last of so many attempts. Payloads are never selected.
"""

from __future__ import annotations

from pipelines.sources.gateway.declared import Call, Log

PROXIES = ("proxy", "ai-proxy", "ai-proxy-advanced")
PLUGINS = ("ai-request-transformer", "ai-response-transformer", "request-transformer", "response-transformer")
RAG_PLACES = (*(f"ai.{plugin}.rag-inject" for plugin in PROXIES), "ai.rag-inject", "ai.ai-rag-injector")
USAGE = {
    "model": ("meta.response_model", "meta.request_model"),
    "provider": ("meta.provider_name",),
    "latency": ("meta.llm_latency",),
    "input": ("usage.prompt_tokens", "usage.prompt_token", "usage.input_tokens"),
    "cache_read": ("usage.prompt_tokens_details.cached_tokens", "usage.input_tokens_details.cached_tokens"),
    "audio_input": ("usage.prompt_tokens_details.audio_tokens", "usage.input_tokens_details.audio_tokens"),
    "output": ("usage.completion_tokens", "usage.completion_token", "usage.output_tokens"),
    "reasoning": ("usage.completion_tokens_details.reasoning_tokens", "usage.output_tokens_details.reasoning_tokens"),
    "audio_output": ("usage.completion_tokens_details.audio_tokens", "usage.output_tokens_details.audio_tokens"),
    "total": ("usage.total_tokens",),
    "cost": ("usage.cost",),
    "cache": ("cache.cache_status",),
    "cache_model": ("cache.embeddings_model",),
}


def _texts(prefix: str, plugins: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {
        f"{prefix}_{name}": tuple(f"ai.{plugin}.{place}" for plugin in plugins for place in places) for name, places in USAGE.items()
    }


def _call(prefix: str, plugin: str | None = None) -> Call:
    p = prefix
    return Call(
        when=f"coalesce({p}_model, {p}_provider, {p}_input, {p}_output, {p}_cache) is not null",
        made={
            "event_id": f"event_id || '/{plugin}'" if plugin else "event_id",
            "provider": f"{p}_provider",
            "model_as_logged": f"{p}_model",
            "operation": f"case when contains(lower({p}_model), 'embed') then 'embedding'"
            " else coalesce(nullif(operation_of(operation), 'other'), 'chat') end",
            "status": "http_outcome(status)",
            "gateway_cache": f"case when lower({p}_cache) = 'hit' then if({p}_cache_model is null, 'exact', 'semantic') end",
            "latency_ms": f"{p}_latency" if plugin else "latency_ms",
            **({} if plugin else {"attempt": "case when json_valid(tries) then nullif(json_array_length(tries), 0) end"}),
            **{f"{name}_tokens": f"{p}_{name}" for name in ("input", "cache_read", "audio_input", "output", "reasoning", "audio_output")},
            "source_cost": f"nullif(rounded(plain({p}_cost, 0)), 0)",
        },
        refuse={
            "tokens_not_disjoint": f"whole_number({p}_total) and count_of({p}_total) < added({p}_input, {p}_output)",
        },
    )


RAG = Call(
    when="rag_tokens is not null",
    made={
        "event_id": "event_id || '/rag-inject'",
        "provider": "rag_provider",
        "model_as_logged": "rag_model",
        "operation": "'embedding'",
        "status": "'success'",
        "latency_ms": "rag_latency",
        "input_tokens": "rag_tokens",
    },
)
FORMAT = Log(
    name="kong",
    inclusive=True,
    texts={
        "event_id": "request.id",
        "occurred_at": "started_at",
        "gateway_team": ("consumer.custom_id", "consumer.username"),
        "api_key_id": "authenticated_entity.id",
        "operation": "request.uri",
        "trace_id": ("trace_id.w3c", "trace_id.datadog"),
        "status": "response.status",
        "latency_ms": "latencies.request",
        "tries": "tries",
        "rag_provider": tuple(f"{place}.embeddings_provider" for place in RAG_PLACES),
        "rag_model": tuple(f"{place}.embeddings_model" for place in RAG_PLACES),
        "rag_latency": tuple(f"{place}.embeddings_latency" for place in RAG_PLACES),
        "rag_tokens": tuple(f"{place}.embeddings_tokens" for place in RAG_PLACES),
        **_texts("proxy", PROXIES),
        **{name: place for n, plugin in enumerate(PLUGINS) for name, place in _texts(f"plugin{n}", (plugin,)).items()},
    },
    calls=(_call("proxy"), *(_call(f"plugin{n}", plugin) for n, plugin in enumerate(PLUGINS)), RAG),
).format()
