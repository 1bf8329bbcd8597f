"""LiteLLM `StandardLoggingPayload`, one JSON object per line, as its bucket loggers write it.

Token counts are inclusive: the prompt contains cached, cache-writing and audio tokens, the completion contains
reasoning and audio. A hit in the gateway's own cache carries full counts that no provider saw. Prompts and answers are
in every line and are never selected.
"""

from __future__ import annotations

import glob
import json
from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.gateway.lines import LINES, clean, macros, number_lines

_REQUESTER = dict.fromkeys(
    ("environment", "application", "customer_id", "user_tier", "request_type", "triggered_by", "vector_index_id", "project",
     "session_id", "routing_reason", "quality_score"),
    "VARCHAR",
)  # fmt: skip
FIELDS = {
    **dict.fromkeys(
        ("id", "litellm_call_id", "trace_id", "session_id", "call_type", "cache_hit", "status", "custom_llm_provider", "startTime",
         "endTime", "response_time", "model", "prompt_tokens", "completion_tokens", "end_user"),
        "VARCHAR",
    ),  # fmt: skip
    "response_cost": "DECIMAL(38,12)",
    "request_tags": "JSON",
    "cost_breakdown": {"service_tier": "VARCHAR"},
    "metadata": {
        **dict.fromkeys(
            ("user_api_key_hash", "user_api_key_alias", "user_api_key_team_id", "user_api_key_team_alias",
             "user_api_key_project_id", "attempted_retries"),
            "VARCHAR",
        ),  # fmt: skip
        "requester_metadata": _REQUESTER,
        "spend_logs_metadata": _REQUESTER,
        "usage_object": {
            **dict.fromkeys(
                ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"), "VARCHAR"
            ),
            "prompt_tokens_details": {
                "cached_tokens": "VARCHAR",
                "audio_tokens": "VARCHAR",
                "cache_creation_tokens": "VARCHAR",
                "cache_creation_token_details": {"ephemeral_5m_input_tokens": "VARCHAR", "ephemeral_1h_input_tokens": "VARCHAR"},
            },
            "completion_tokens_details": {"reasoning_tokens": "VARCHAR", "audio_tokens": "VARCHAR"},
        },
    },
}


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per non-blank line; `source` adds nothing."""
    macros(con)
    (path,) = delivery.paths
    con.execute(SELECT, {"path": glob.escape(str(path)), "fields": json.dumps(FIELDS)})
    clean(con, inclusive=True)
    number_lines(con, delivery)


SELECT = f"""
create or replace temp table logged as
with records as (
    select ordinality as source_row, json is null or json_type(json) <> 'OBJECT' as bad_record, json_transform(json, $fields) as f
    from {LINES}
),
parts as (
    select
        source_row, bad_record, f, f.metadata as m, f.metadata.requester_metadata as r, f.metadata.spend_logs_metadata as s,
        f.metadata.usage_object as u, f.metadata.usage_object.prompt_tokens_details as p,
        f.metadata.usage_object.prompt_tokens_details.cache_creation_token_details as w,
        try_cast(f.request_tags as varchar[]) as tags, lower(f.call_type) as call
    from records
),
named as (
    select
        *,
        coalesce(nullif(p.cached_tokens, '0'), u.cache_read_input_tokens, p.cached_tokens) as cache_read,
        coalesce(nullif(u.cache_creation_input_tokens, '0'), p.cache_creation_tokens) as cache_written
    from parts
)
select
    source_row,
    coalesce(nullif(f.id, ''), f.litellm_call_id) as event_id,
    '' as event_version,
    any_time(f."startTime", 'UTC') as occurred_at,
    coalesce(nullif(m.user_api_key_team_alias, ''), m.user_api_key_team_id) as gateway_team,
    coalesce(nullif(m.user_api_key_project_id, ''), r.project, s.project, {{tag:project}}) as project,
    coalesce(r.application, s.application, {{tag:application}}) as application,
    coalesce(r.environment, s.environment, {{tag:environment}}) as environment,
    coalesce(r.customer_id, s.customer_id, nullif(f.end_user, '')) as customer_id,
    coalesce(r.user_tier, s.user_tier, {{tag:user_tier}}) as user_tier,
    coalesce(r.request_type, s.request_type, case when contains(call, 'batch') then 'batch' end) as request_type,
    coalesce(r.triggered_by, s.triggered_by, {{tag:triggered_by}}) as triggered_by,
    coalesce(nullif(m.user_api_key_alias, ''), m.user_api_key_hash) as api_key_id,
    f.custom_llm_provider as provider,
    f.model as model_as_logged,
    null::varchar as region,
    coalesce(f.cost_breakdown.service_tier, case when contains(call, 'batch') then 'batch' end) as service_tier,
    case
        when contains(call, 'embedding') then 'embedding'
        when contains(call, 'rerank') then 'rerank'
        when contains(call, 'text_completion') then 'completion'
        when contains(call, 'image') then 'image'
        when contains(call, 'speech') or contains(call, 'transcription') or contains(call, 'realtime') then 'audio'
        when contains(call, 'fine_tuning') then 'fine_tune'
        when contains(call, 'completion') or contains(call, 'responses') or contains(call, 'messages')
            or contains(call, 'generate_content') then 'chat'
        else 'other' end as operation,
    coalesce(r.vector_index_id, s.vector_index_id) as vector_index_id,
    f.trace_id as trace_id,
    coalesce(nullif(f.session_id, ''), r.session_id) as session_id,
    (coalesce(try_cast(m.attempted_retries as integer), 0) + 1)::varchar as attempt,
    f.status as status,
    f.cache_hit as gateway_cache,
    coalesce(s.routing_reason, r.routing_reason) as routing_reason,
    coalesce(s.quality_score, r.quality_score) as quality_score,
    coalesce(
        round(try_cast(f.response_time as decimal(24, 6)) * 1000, 0),
        round(try_cast(f."endTime" as decimal(24, 6)) * 1000 - try_cast(f."startTime" as decimal(24, 6)) * 1000, 0)
    )::varchar as latency_ms,
    coalesce(f.prompt_tokens, u.prompt_tokens) as input_tokens,
    cache_read as cache_read_tokens,
    coalesce(case
        when whole_number(cache_written) then (count_of(cache_written) - count_of(w.ephemeral_1h_input_tokens))::varchar
        else cache_written end, w.ephemeral_5m_input_tokens) as cache_write_5m_tokens,
    w.ephemeral_1h_input_tokens as cache_write_1h_tokens,
    coalesce(f.completion_tokens, u.completion_tokens) as output_tokens,
    u.completion_tokens_details.reasoning_tokens as reasoning_tokens,
    p.audio_tokens as audio_input_tokens,
    u.completion_tokens_details.audio_tokens as audio_output_tokens,
    null::varchar as avoided_input_tokens,
    null::varchar as avoided_output_tokens,
    null::varchar as images,
    null::varchar as search_units,
    null::varchar as queries,
    '1' as requests,
    f.response_cost::varchar as source_cost,
    bad_record
from named
"""
for _name in ("project", "application", "environment", "user_tier", "triggered_by"):  # tags such as "application:search"
    _tag = f"list_filter(tags, lambda t: starts_with(t, '{_name}:'))[1][{len(_name) + 2}:]"
    SELECT = SELECT.replace(f"{{tag:{_name}}}", _tag)

FORMAT = Format("litellm", "gateway", (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz"), read, line_records=True)
