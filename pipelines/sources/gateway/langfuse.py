"""Langfuse observations as its blob export writes them: JSON lines, a JSON array, CSV or Parquet, snake_case or camelCase.

Only observations that called a model (GENERATION, EMBEDDING) are events; spans, tools and agents are set aside. Token
counts are exclusive and add up: `input` is without cache and audio, `output` without reasoning, `total` is the sum of the
others. A total that is not their sum rejects the row, and so does a kind of usage with no meter here: it is never dropped.
An observation is exported again when it changes: `updated_at` is its version, and each file stands on its own. A run writes
`manifests/<end of its window>.json` last: files of later windows wait for theirs, and a manifest is landed without rows. Langfuse knows no vendor: `fields: {provider: key}`
names the metadata key that tells it, else it follows from the model's name where only its maker uses such names. Prompts
and answers (`input`, `output`) are never selected.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import CONTEXT, Delivery, Format
from pipelines.sources.fields import Mapped, expression, fields_of
from pipelines.sources.gateway.lines import clean, every_line, in_lines, macros, number_lines, tag
from pipelines.sources.texts import ALL_SUFFIXES, json_path, load

COLUMNS = {
    name: (name, *others)
    for name, *others in (
        ("id",), ("type",), ("project_id", "projectId"), ("start_time", "startTime"), ("end_time", "endTime"), ("latency",),
        ("level",), ("updated_at", "updatedAt"), ("trace_id", "traceId"), ("session_id", "sessionId"), ("user_id", "userId"),
        ("tags", "traceTags"), ("environment",), ("provided_model_name", "providedModelName", "model"), ("metadata",),
        ("usage_details", "usageDetails"), ("total_cost", "totalCost", "calculatedTotalCost"),
        ("cost_details", "costDetails"), ("model_parameters", "modelParameters"), ("usage_pricing_tier_name", "usagePricingTierName"),
    )
}  # fmt: skip
KINDS = {
    **dict.fromkeys(("start_time", "end_time", "updated_at"), "time"), **dict.fromkeys(("latency", "total_cost"), "number"),
    **dict.fromkeys(("tags", "metadata", "usage_details", "cost_details", "model_parameters"), "object"),
}  # fmt: skip
REQUIRED = ("id", "type", "start_time", "usage_details", "provided_model_name")
CALLS = {"GENERATION": "chat", "EMBEDDING": "embedding"}
OTHERS = ("SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "GUARDRAIL")
USAGE = {  # how the keys of usage_details are called
    "input": ("input", "input_tokens", "prompt_tokens", "promptTokens"),
    "cache_read": ("input_cache_read", "input_cached_tokens", "cache_read_input_tokens", "input_cached", "cached_tokens"),
    "cache_write_5m": ("input_cache_creation", "input_cache_creation_5m", "cache_creation_input_tokens", "input_cache_write"),
    "cache_write_1h": ("input_cache_creation_1h",),
    "audio_input": ("input_audio", "input_audio_tokens"),
    "output": ("output", "output_tokens", "completion_tokens", "completionTokens"),
    "reasoning": ("output_reasoning", "output_reasoning_tokens", "reasoning_tokens"),
    "audio_output": ("output_audio", "output_audio_tokens"),
}  # fmt: skip
NO_TOKENS = ("web_search_queries", "web_search_requests")  # known and no meter of ours


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per call, and one per record that is no observation; `fields` of the source count."""
    macros(con)
    (path,) = delivery.paths
    columns = load(con, delivery, COLUMNS, COLUMNS.keys() - set(REQUIRED), KINDS)
    con.execute(f"create or replace temp table observed as select source_row, bad_record, {_taken(columns)} from texts")
    con.execute("drop table texts")
    if in_lines(source, path):
        every_line(con, delivery, "observed")
    own = fields_of(getattr(source, "fields", None), CONTEXT, {}, "usage_events")
    params: dict[str, Any] = {"manifest": path.parent.name == "manifests", "flat": [], "deep": []}
    said = []
    for n, name in enumerate(CONTEXT, 1):
        mapped = own.get(name, Mapped(column=name))
        key = mapped.column or name
        params["flat"].append(json_path([key]))
        params["deep"].append(json_path(key.split(".")))
        said.append(f"{expression(name, mapped, {key: f'coalesce(flat[{n}], deep[{n}])'}, params)} as said_{name}")
    clean(con, SELECT.replace("{said}", ", ".join(said)), params, inclusive=False, fault="fault")
    con.execute("drop table observed")
    number_lines(con, delivery)


def _taken(columns: dict[str, str]) -> str:
    return ", ".join(f"nullif({column}, '') as {name}" for name, column in columns.items())


def _context(name: str, *own: str) -> str:
    """A fact about the call: from the metadata, what else the observation says, or a tag."""
    return f"coalesce({', '.join((f'said_{name}', *own, tag(name)))}) as {name}"


def _counted(meter: str) -> str:
    """The sum of a meter's keys; a text that is no count stays as it is, so that the row is rejected."""
    keys = ", ".join(f"'{key}'" for key in USAGE[meter])
    texts = f"list_filter(usage, lambda u: u.k in ({keys}))"
    bad = f"list_filter({texts}, lambda u: u.v is null or not regexp_full_match(u.v, '\\d{{1,13}}(\\.0+)?'))"
    return f"coalesce({bad}[1].v, list_sum(list_transform({texts}, lambda u: count_of(u.v)))::varchar)"


_TOKENS = tuple(key for keys in USAGE.values() for key in keys)
_KNOWN = (*_TOKENS, *NO_TOKENS, "total")
MAKER = r"""case
        when regexp_matches(name, '^([a-z]+\.)?anthropic\.claude|^([a-z]+\.)?amazon\.') then 'aws'
        when regexp_matches(name, '^(chatgpt-|gpt-\d|o\d|text-embedding-(3|ada))') then 'openai'
        when regexp_matches(name, '^claude-[^@]*$') then 'anthropic'
        when regexp_matches(name, '^(gemini-|claude-.*@)') then 'google'
        end"""
TIER = "case when lower(usage_pricing_tier_name) in ('standard', 'batch', 'flex', 'priority') then usage_pricing_tier_name end"
SELECT = f"""
with opened as (
    select
        *,
        upper(trim(type)) as kind,
        if(json_valid(usage_details), usage_details, 'null')::json as usage_json,
        if(json_valid(metadata), metadata, 'null')::json as m,
        m ->> $flat::varchar[] as flat,
        m ->> $deep::varchar[] as deep,
        {{said}},
        if(json_valid(model_parameters), model_parameters, 'null')::json as parameters,
        if(json_valid(cost_details), cost_details, 'null')::json as costs,
        try_cast(if(json_valid(tags), tags, 'null')::json as varchar[]) as tags_there
    from observed
    where not $manifest
),
listed as (
    select
        * exclude (tags, tags_there), tags_there as tags,
        list_transform(
            list_distinct(json_keys(usage_json)),
            lambda k: {{'k': k, 'v': usage_json ->> ('/' || replace(replace(k, '~', '~0'), '/', '~1'))}}
        ) as usage
    from opened
    where bad_record or kind is null or kind not in {OTHERS}
),
summed as (
    select
        *,
        list_filter(usage, lambda u: u.k = 'total')[1].v as total,
        coalesce(list_sum(list_transform(list_filter(usage, lambda u: u.k in {_TOKENS}), lambda u: count_of(u.v))), 0) as tokens,
        coalesce(list_sum(list_transform(list_filter(usage, lambda u: u.k in {NO_TOKENS}), lambda u: count_of(u.v))), 0) as others,
        lower(provided_model_name) as name
    from listed
)
select
    source_row,
    if(id is null, null, concat_ws(':', project_id, id)) as event_id,
    any_time(updated_at, 'UTC')::varchar as event_version,
    any_time(start_time, 'UTC') as occurred_at,
    {_context("gateway_team")},
    {_context("project", "project_id")},
    {_context("application")},
    {_context("environment", "environment")},
    {_context("customer_id", "user_id")},
    {_context("user_tier")},
    {_context("request_type")},
    {_context("triggered_by")},
    {_context("api_key_id")},
    {_context("provider", MAKER)},
    provided_model_name as model_as_logged,
    {_context("region")},
    {_context("service_tier", "parameters ->> '/service_tier'", TIER)},
    case kind {" ".join(f"when '{kind}' then '{operation}'" for kind, operation in CALLS.items())} end as operation,
    {_context("vector_index_id")},
    trace_id,
    {_context("session_id", "session_id")},
    if(upper(level) = 'ERROR', 'failure', 'success') as status,
    {_context("routing_reason")},
    {_context("quality_score")},
    {_context("system_prompt_tokens")},
    coalesce(
        try_cast(latency as decimal(24, 6)) * 1000,
        date_diff('microsecond', any_time(start_time, 'UTC'), any_time(end_time, 'UTC')) * 0.001
    )::varchar as latency_ms,
    {_counted("input")} as input_tokens,
    {_counted("cache_read")} as cache_read_tokens,
    {_counted("cache_write_5m")} as cache_write_5m_tokens,
    {_counted("cache_write_1h")} as cache_write_1h_tokens,
    {_counted("output")} as output_tokens,
    {_counted("reasoning")} as reasoning_tokens,
    {_counted("audio_input")} as audio_input_tokens,
    {_counted("audio_output")} as audio_output_tokens,
    coalesce(total_cost, costs ->> '/total') as source_cost,
    bad_record,
    case
        when kind is null or kind not in {tuple(CALLS)} then 'unknown_type'
        when usage_details is not null and json_type(usage_json) <> 'OBJECT' then 'bad_usage'
        when len(list_filter(usage, lambda u: u.k not in {_KNOWN} and not regexp_full_match(u.v, '0(\\.0+)?'))) > 0 then 'unknown_meter'
        when total is not null and count_of(total) not in (tokens, tokens + others) then 'total_is_not_the_sum' end as fault
from summed
"""

FORMAT = Format("langfuse", "gateway", ALL_SUFFIXES, read, in_lines=in_lines, commit_marks=True)
