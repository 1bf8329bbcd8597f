"""LiteLLM: `StandardLoggingPayload` as its bucket loggers write it, and rows of `LiteLLM_SpendLogs`; both may be in one file.

A spend log has a `request_id`; its metadata is JSON inside a text and its times are UTC without a zone. Token counts of
both are inclusive: the prompt contains cached, cache-writing and audio tokens, the completion contains reasoning and
audio. A hit in the gateway's own cache carries full counts that no provider saw. A row about fetching an earlier answer
repeats that answer's usage under a new id: it is kept as an event that used nothing. A call that the vendor handed from one
model to another counts both in its totals and lists them as `iterations`, whose counts are exclusive: each is an event at its own
model, without those that answered nothing, which nobody bills. Where one of them has no counts the totals stay as they are. Prompts and answers are in most records and are never selected.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from pipelines.content import open_content
from pipelines.sources import Delivery, Format
from pipelines.sources.gateway.lines import (
    JSON_SUFFIXES,
    clean,
    in_lines,
    macros,
    not_objects,
    note_ignored,
    number_lines,
    tag,
    typed_records,
)

_REQUESTER = dict.fromkeys(
    ("environment", "application", "customer_id", "user_tier", "request_type", "triggered_by", "vector_index_id", "project",
     "session_id", "routing_reason", "quality_score", "system_prompt_tokens"),
    "VARCHAR",
)  # fmt: skip
_USAGE = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"), "VARCHAR"),
    "prompt_tokens_details": {
        "cached_tokens": "VARCHAR",
        "audio_tokens": "VARCHAR",
        "cache_creation_tokens": "VARCHAR",
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": "VARCHAR", "ephemeral_1h_input_tokens": "VARCHAR"},
    },
    "completion_tokens_details": {"reasoning_tokens": "VARCHAR", "audio_tokens": "VARCHAR"},
    "iterations": "JSON",
}
ITERATION = {
    **dict.fromkeys(("model", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"), "VARCHAR"),
    "cache_creation": {"ephemeral_5m_input_tokens": "VARCHAR", "ephemeral_1h_input_tokens": "VARCHAR"},
}
_KEY = (
    "user_api_key_hash", "user_api_key", "user_api_key_alias", "user_api_key_team_id", "user_api_key_team_alias",
    "user_api_key_project_id", "attempted_retries",
)  # fmt: skip
_BILLED = dict.fromkeys(("service_tier", "data_residency", "vertex_location"), "VARCHAR")  # the basis of the price
METADATA = {
    **dict.fromkeys(_KEY, "VARCHAR"),
    "cost_breakdown": _BILLED,
    "requester_metadata": _REQUESTER,
    "spend_logs_metadata": _REQUESTER,
    "usage_object": _USAGE,
    "additional_usage_values": _USAGE,
}
_CALL = (
    "id", "request_id", "litellm_call_id", "trace_id", "session_id", "call_type", "cache_hit", "status", "custom_llm_provider",
    "startTime", "endTime", "response_time", "request_duration_ms", "updated_at", "model", "prompt_tokens", "completion_tokens",
    "end_user", "api_key", "team_id",
)  # fmt: skip
FIELDS = {
    **dict.fromkeys(_CALL, "VARCHAR"),
    "response_cost": "DECIMAL(38,12)",
    "spend": "DECIMAL(38,12)",
    "request_tags": "JSON",
    "cost_breakdown": _BILLED,
    "metadata": METADATA,
}


# How the rows of a file are called: each a call of one model, or each model of a call by itself. The one that answered keeps the id.
ONE = "select * exclude (iterations, fault), coalesce(fault, if(iterations is not null, 'several_models', null)) as fault from ({logged})"
EACH = """
select
    * exclude (iterations, i, n, is_last) replace (
        if(is_last, event_id, event_id || '/' || n) as event_id,
        if(i is null, model_as_logged, i.model) as model_as_logged,
        if(is_last, status, 'failure') as status,
        if(is_last, quality_score, null) as quality_score,
        if(is_last, latency_ms, null) as latency_ms,
        if(i is null, input_tokens, added(added(i.input_tokens, i.cache_read_input_tokens)::varchar, i.cache_creation_input_tokens)::varchar) as input_tokens,
        if(i is null, cache_read_tokens, i.cache_read_input_tokens) as cache_read_tokens,
        if(i is null, cache_write_5m_tokens, less(i.cache_creation_input_tokens, i.cache_creation.ephemeral_1h_input_tokens)) as cache_write_5m_tokens,
        if(i is null, cache_write_1h_tokens, i.cache_creation.ephemeral_1h_input_tokens) as cache_write_1h_tokens,
        if(i is null, output_tokens, i.output_tokens) as output_tokens,
        if(i is null, reasoning_tokens, null) as reasoning_tokens,
        if(i is null, audio_input_tokens, null) as audio_input_tokens,
        if(i is null, audio_output_tokens, null) as audio_output_tokens,
        if(is_last, source_cost, null) as source_cost)
from (
    select *, n = coalesce(len(iterations), 1) as is_last
    from (
        select *, unnest(coalesce(iterations, [null])) as i, generate_subscripts(coalesce(iterations, [null]), 1) as n
        from ({logged})
    )
)
where is_last or i.output_tokens is distinct from '0'
"""

# In a spend log metadata is text; of a file that has such rows it is read as JSON, and parsed on its own.
AS_OBJECT = "f.metadata as m, false as damaged"
AS_TEXT = """json_transform(if(text is null, f.metadata::varchar, if(json_valid(text), text, 'null'))::json, $metadata) as m,
        text is not null and not json_valid(text) as damaged"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per non-blank line or object, and one more for each further model that a call went through; `source` adds nothing."""
    macros(con)
    (path,) = delivery.paths
    parse = _rows if _starts_with_spend_log(path) else _payloads
    faults = parse(con, path)
    if "spend_log" in faults:
        parse = _rows
        faults = parse(con, path)
    if "several_models" in faults:
        parse(con, path, EACH)
    note_ignored(con, path, FIELDS)
    number_lines(con, delivery)


def _payloads(con: duckdb.DuckDBPyConnection, path: Path, called: str = ONE) -> set[str]:
    """`parsed` of a file of payloads, and why it has to be read again: a row may be a spend log, or went through several models."""
    records, params = typed_records(path, FIELDS)
    return _clean(con, path, records, AS_OBJECT, params, called, "if(f.request_id is not null, 'spend_log', null)")


def _rows(con: duckdb.DuckDBPyConnection, path: Path, called: str = ONE) -> set[str]:
    """The same of a file that has spend logs."""
    records, params = typed_records(path, {**FIELDS, "metadata": "JSON"})
    spend = "case when f.request_id is not null and json_type(f.metadata) = 'VARCHAR' then nullif(f.metadata ->> '$', '') end"
    return _clean(con, path, f"select *, {spend} as text from ({records})", AS_TEXT, params | {"metadata": json.dumps(METADATA)}, called)


def _starts_with_spend_log(path: Path) -> bool:
    with open_content(path) as lines:
        return b'"request_id"' in lines.read(1 << 16).lstrip().split(b"\n", 1)[0]


def _clean(
    con: duckdb.DuckDBPyConnection, path: Path, records: str, opened: str, params: dict[str, Any], called: str, fault: str = "null"
) -> set[str]:
    logged = called.replace("{logged}", SELECT.replace("{records}", records).replace("{opened}", opened).replace("{fault}", fault))
    clean(con, logged, params, inclusive=True, fault="fault")
    not_objects(con, path)
    again = "select distinct reject from parsed where reject in ('spend_log', 'several_models')"
    return {reject for (reject,) in con.execute(again).fetchall()}


SELECT = """
with opened as (
    select
        *, lower(f.call_type) as call, {opened},
        coalesce(try_cast(f.request_tags as varchar[]), try_cast(try_cast(f.request_tags ->> '$' as json) as varchar[])) as tags,
        coalesce(regexp_matches(call, '^a?(get|list|delete|cancel)_'), false) as fetched
    from ({records})
),
used as (
    select *, if(fetched, null, coalesce(m.usage_object, m.additional_usage_values)) as u from opened
),
parts as (
    select
        *, m.requester_metadata as r, m.spend_logs_metadata as s, u.prompt_tokens_details as p,
        u.prompt_tokens_details.cache_creation_token_details as w
    from used
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
    coalesce(nullif(f.id, ''), nullif(f.request_id, ''), f.litellm_call_id) as event_id,
    any_time(f.updated_at, 'UTC')::varchar as event_version,
    any_time(f."startTime", 'UTC') as occurred_at,
    coalesce(nullif(m.user_api_key_team_alias, ''), nullif(m.user_api_key_team_id, ''), f.team_id) as gateway_team,
    coalesce(nullif(m.user_api_key_project_id, ''), r.project, s.project, {tag:project}) as project,
    coalesce(r.application, s.application, {tag:application}) as application,
    coalesce(r.environment, s.environment, {tag:environment}) as environment,
    coalesce(r.customer_id, s.customer_id, nullif(f.end_user, '')) as customer_id,
    coalesce(r.user_tier, s.user_tier, {tag:user_tier}) as user_tier,
    coalesce(r.request_type, s.request_type, case when contains(call, 'batch') then 'batch' end) as request_type,
    coalesce(r.triggered_by, s.triggered_by, {tag:triggered_by}) as triggered_by,
    coalesce(nullif(m.user_api_key_alias, ''), nullif(m.user_api_key_hash, ''), nullif(f.api_key, ''), m.user_api_key) as api_key_id,
    f.custom_llm_provider as provider,
    f.model as model_as_logged,
    coalesce(f.cost_breakdown.data_residency, m.cost_breakdown.data_residency, f.cost_breakdown.vertex_location, m.cost_breakdown.vertex_location)
        as region,
    coalesce(f.cost_breakdown.service_tier, m.cost_breakdown.service_tier, case when contains(call, 'batch') then 'batch' end)
        as service_tier,
    case
        when fetched then 'other'
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
    coalesce(f.trace_id, if(f.request_id is null, null, f.session_id)) as trace_id,  -- a spend log calls it its session
    coalesce(nullif(f.session_id, ''), r.session_id) as session_id,
    (coalesce(try_cast(m.attempted_retries as integer), 0) + 1)::varchar as attempt,
    f.status as status,
    f.cache_hit as gateway_cache,
    coalesce(s.routing_reason, r.routing_reason) as routing_reason,
    coalesce(s.quality_score, r.quality_score) as quality_score,
    coalesce(s.system_prompt_tokens, r.system_prompt_tokens) as system_prompt_tokens,
    coalesce(
        round(try_cast(f.response_time as decimal(24, 6)) * 1000, 0),
        try_cast(f.request_duration_ms as decimal(24, 6)),
        round(try_cast(f."endTime" as decimal(24, 6)) * 1000 - try_cast(f."startTime" as decimal(24, 6)) * 1000, 0),
        date_diff('microsecond', any_time(f."startTime", 'UTC'), any_time(f."endTime", 'UTC')) * 0.001
    )::varchar as latency_ms,
    if(fetched, null, coalesce(f.prompt_tokens, u.prompt_tokens)) as input_tokens,
    cache_read as cache_read_tokens,
    coalesce(less(cache_written, w.ephemeral_1h_input_tokens), w.ephemeral_5m_input_tokens) as cache_write_5m_tokens,
    w.ephemeral_1h_input_tokens as cache_write_1h_tokens,
    if(fetched, null, coalesce(f.completion_tokens, u.completion_tokens)) as output_tokens,
    u.completion_tokens_details.reasoning_tokens as reasoning_tokens,
    p.audio_tokens as audio_input_tokens,
    u.completion_tokens_details.audio_tokens as audio_output_tokens,
    if(fetched, '0', '1') as requests,
    coalesce(f.response_cost, f.spend)::varchar as source_cost,
    bad_record,
    case when len(list_distinct(json_extract_string(u.iterations, '$[*].model'))) > 1 and json_array_length(u.iterations)
            = least(len(json_extract_string(u.iterations, '$[*].input_tokens')), len(json_extract_string(u.iterations, '$[*].output_tokens')))
        then from_json(u.iterations, '{iteration}') end as iterations,
    coalesce(if(damaged, 'bad_metadata', null), {fault}) as fault
from named
"""
SELECT = SELECT.replace("{iteration}", json.dumps([ITERATION]))
for _name in ("project", "application", "environment", "user_tier", "triggered_by"):
    SELECT = SELECT.replace(f"{{tag:{_name}}}", tag(_name))

FORMAT = Format("litellm", "gateway", JSON_SUFFIXES, read, line_records=in_lines, several=True, small_files=True)
