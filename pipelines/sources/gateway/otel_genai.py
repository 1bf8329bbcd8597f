"""OpenTelemetry GenAI traces: OTLP JSON lines as the collector's file exporter writes them (format json, no compression).

A call is a span that generates (chat, text_completion, generate_content), embeds, or has usage and is no agent, workflow,
tool or retrieval. Frameworks repeat the usage of a call
in the spans around it, so a call that encloses another one with usage of its own is not counted; the two may stand on
different lines of the file, and in different files: `kept_spans` is what is left to say of that (pipelines/traces.py). Token counts are inclusive: the input contains what was read from and written to a cache, the
output contains reasoning; `tokens: exclusive` says that a source does otherwise. Cache writes count as five minutes. A
span has no team and no cost of its own: `fields` of the source name the span or resource attributes that tell whose it is.
Only attributes known by name are kept, and none that holds a prompt, an answer or a message.
"""

from __future__ import annotations

import glob
import json
from typing import Any

import duckdb

from pipelines.sources import CONTEXT, Delivery, Format
from pipelines.sources.fields import Mapped, expression, fields_of
from pipelines.sources.gateway.lines import (
    BAD_RECORD,
    JSON_SUFFIXES,
    clean,
    every_line,
    in_lines,
    json_records,
    macros,
    note_ignored,
    number_lines,
)
from pipelines.traces import find_enclosing

# What an attribute is called, the current name first, then those of earlier conventions and of exporters.
NAMES = {
    "operation": ("gen_ai.operation.name", "llm.request.type"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "gen_ai.model.provider"),
    "model": ("gen_ai.response.model", "gen_ai.request.model"),
    "response_id": ("gen_ai.response.id",),
    "session_id": ("gen_ai.conversation.id", "session.id"),
    "application": ("service.name",),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "customer_id": ("enduser.id",),
    "region": ("cloud.region",),
    "service_tier": ("openai.response.service_tier", "gen_ai.openai.response.service_tier"),
    "error": ("error.type",),
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cache_read": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
                   "gen_ai.usage.cache_read_tokens", "gen_ai.usage.input_tokens.cached"),
    "cache_written": ("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
                      "gen_ai.usage.cache_creation_tokens", "gen_ai.usage.cache_write_tokens"),
    "reasoning": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
                  "gen_ai.usage.output_tokens.reasoning"),
    "cost": ("gen_ai.usage.cost", "gen_ai.usage.total_cost"),
}  # fmt: skip
_VALUE = dict.fromkeys(("stringValue", "intValue", "doubleValue", "boolValue"), "VARCHAR")
_ATTRIBUTES = [{"key": "VARCHAR", "value": _VALUE}]
_TIMES = ("startTimeUnixNano", "endTimeUnixNano")
_SPAN = {
    **dict.fromkeys(("traceId", "spanId", "parentSpanId", *_TIMES), "VARCHAR"),
    "status": {"code": "VARCHAR"},
    "attributes": _ATTRIBUTES,
}
SHAPE = {"resourceSpans": [{"resource": {"attributes": _ATTRIBUTES}, "scopeSpans": [{"spans": [_SPAN]}]}]}


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per call, and one per line that holds no spans; `fields` and `tokens` of the source count."""
    macros(con)
    con.execute(MACROS)
    (path,) = delivery.paths
    own = fields_of(getattr(source, "fields", None), CONTEXT, {}, "usage_events")
    own = {canonical: Mapped(column=canonical) for canonical in CONTEXT} | own
    names = {canonical: NAMES.get(canonical, ()) for canonical in (*NAMES, *CONTEXT)}
    wanted = sorted({name for group in names.values() for name in group} | {mapped.column for mapped in own.values() if mapped.column})
    con.execute(
        SPANS.replace("{records}", json_records(path)).replace("{bad_record}", BAD_RECORD),
        {"path": glob.escape(str(path)), "shape": json.dumps(SHAPE), "wanted": wanted},
    )
    note_ignored(con, path, (*wanted, *_SPAN), NAMED)
    if in_lines(source, path):
        every_line(con, delivery, "(select distinct source_row from spans)")
    params: dict[str, Any] = {}
    named = ", ".join(f"coalesce({', '.join(_places(name, group, own, params))}) as {name}" for name, group in names.items())
    con.execute(CALLS.replace("{named}", named), params)
    con.execute("drop table spans")
    find_enclosing(con, "calls")
    con.execute(KEPT)
    clean(con, SELECT, inclusive=getattr(source, "tokens", None) != "exclusive", fault="fault")
    con.execute("drop table calls")
    con.execute("drop table enclosing")
    number_lines(con, delivery)


def _places(canonical: str, names: tuple[str, ...], own: dict[str, Mapped], params: dict[str, Any]) -> list[str]:
    """Where a fact may stand, what the source says of it first; a span's own attributes stand before those of its resource."""
    mapped = own.get(canonical, Mapped())
    asked = [mapped.column, *names] if mapped.column else list(names)
    params |= {f"{canonical}_{n}": name for n, name in enumerate(asked)}
    texts = [f"texts[list_position(keys, ${canonical}_{n})]" for n in range(len(asked))]
    if mapped.column:
        return [expression(canonical, mapped, {mapped.column: texts[0]}, params), *texts[1:]]
    return [expression(canonical, mapped, {}, params), *texts]


# What a line names: the attributes of its spans and resources, and the fields of its spans.
_SPANS = "$.resourceSpans[*].scopeSpans[*].spans[*]"
NAMED = f"""list_distinct(flatten([
    json_extract_string(json, '{_SPANS}.attributes[*].key'), json_extract_string(json, '$.resourceSpans[*].resource.attributes[*].key'),
    flatten(list_transform(json_extract(json, '{_SPANS}'), lambda span: json_keys(span)))
]))"""
# wanted_only     of attributes, those named in `wanted` that say something, as {k, v} of texts
MACROS = """
create or replace temp macro wanted_only(a, wanted) as list_filter(list_transform(
    list_filter(a, lambda x: list_contains(wanted, x.key)),
    lambda x: {'k': x.key, 'v': coalesce(x.value."stringValue", x.value."intValue", x.value."doubleValue", x.value."boolValue")}
), lambda x: x.v <> '');
create or replace temp macro one_at_least(a) as if(len(coalesce(a, [])) = 0, [null], a);
"""
# Every line has at least one row here, though it may hold no span.
SPANS = """
create or replace temp table spans as
with lines as (
    select ordinality as source_row, {bad_record} as bad_record, json_transform(json, $shape) as f
    from {records}
),
resources as (
    select source_row, bad_record, f."resourceSpans" is null as odd, unnest(one_at_least(f."resourceSpans")) as r from lines
),
scopes as (
    select
        source_row, bad_record, odd or (r is not null and r."scopeSpans" is null) as odd,
        wanted_only(r.resource.attributes, $wanted::varchar[]) as shared,
        unnest(one_at_least(r."scopeSpans")) as s
    from resources
),
found as (
    select source_row, bad_record, odd or (s is not null and s.spans is null) as odd, shared, unnest(one_at_least(s.spans)) as span
    from scopes
)
select
    source_row, bad_record, odd, list_concat(wanted_only(span.attributes, $wanted::varchar[]), shared) as facts,
    nullif(span."traceId", '') as trace, nullif(span."spanId", '') as span, nullif(span."parentSpanId", '') as parent,
    span."startTimeUnixNano" as started, span."endTimeUnixNano" as ended, span.status.code as status_code
from found
"""
CALLS = """
create or replace temp table calls as
with named as (
    select s.* exclude (keys, texts), {named}
    from (
        select * exclude (facts), list_transform(facts, lambda x: x.k) as keys, list_transform(facts, lambda x: x.v) as texts
        from spans
    ) s
)
select
    *,
    input is not null or output is not null as used,
    case
        when lower(operation) in ('embeddings', 'embedding') then 'embeds'
        when lower(operation) in ('chat', 'text_completion', 'completion', 'generate_content') then 'generates'
        when lower(operation) in ('create_agent', 'invoke_agent', 'invoke_workflow', 'execute_tool', 'retrieval') then null
        when used then 'generates'
        end as does
from named
"""
# What spans in other files may stand within or around: calls, what is below them, and what is below a span that is not here.
KEPT = """
create or replace temp table kept_spans as
with recursive below(trace, span) as (
    select c.trace, c.span
    from calls c
    where c.span is not null and (c.does is not null or (c.parent is not null
        and not exists (select 1 from calls p where p.trace = c.trace and p.span = c.parent)))
    union
    select c.trace, c.span
    from below b
    join calls c on c.trace = b.trace and c.parent = b.span
    where c.span is not null
)
select distinct
    md5_number_lower(c.trace) as trace,
    md5_number_lower(c.span) as span,
    md5_number_lower(c.parent) as parent,
    c.does,
    c.used,
    case when c.does is not null and e.span is null then md5_number_lower(coalesce(said(c.response_id), c.trace || '-' || c.span)) end as event,
    epoch_time(c.started) as occurred_at
from calls c
semi join below b on b.trace = c.trace and b.span = c.span
left join enclosing e on e.trace = c.trace and e.span = c.span and e.does = c.does
"""
SELECT = """
select
    c.source_row,
    coalesce(c.response_id, c.trace || '-' || c.span) as event_id,
    epoch_time(c.started) as occurred_at,
    c.gateway_team, c.project, c.application, c.environment, c.customer_id, c.user_tier, c.request_type, c.triggered_by,
    c.api_key_id, c.provider,
    c.model as model_as_logged,
    c.region, c.service_tier,
    case
        when c.does = 'embeds' then 'embedding'
        when contains(lower(c.operation), 'completion') then 'completion'
        when lower(c.operation) = 'generate_content' or c.operation is null then 'chat'
        else c.operation end as operation,
    c.vector_index_id,
    c.trace as trace_id,
    c.session_id,
    if(c.status_code in ('2', 'STATUS_CODE_ERROR') or c.error is not null, 'failure', 'success') as status,
    c.routing_reason, c.quality_score, c.system_prompt_tokens,
    (date_diff('microsecond', epoch_time(c.started), epoch_time(c.ended)) * 0.001)::varchar as latency_ms,
    c.input as input_tokens,
    c.cache_read as cache_read_tokens,
    c.cache_written as cache_write_5m_tokens,
    c.output as output_tokens,
    c.reasoning as reasoning_tokens,
    c.cost as source_cost,
    c.bad_record,
    if(c.odd, 'no_spans', null) as fault
from calls c
left join enclosing e on e.trace = c.trace and e.span = c.span and e.does = c.does
where e.span is null and (c.does is not null or c.bad_record or c.odd)
"""

FORMAT = Format("otel_genai", "gateway", JSON_SUFFIXES, read, in_lines=in_lines, small_files=True)
