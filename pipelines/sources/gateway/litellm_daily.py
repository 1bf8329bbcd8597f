"""LiteLLM's daily rollups (`LiteLLM_DailyTeamSpend` and its siblings): JSON, CSV or Parquet, one event per row.

They outlive the spend logs. A row is one day of one key, model and team: `requests` of them at once, at the start of the
day. It cannot say latency, attempts, reasoning, cache lifetimes (writes count as five minutes), which request failed, or
which tokens the gateway's own cache answered: those count as used.
Token counts are inclusive: the prompt contains cached and cache-writing tokens. The tables overlap: a source delivers one
of them, a file that mixes them is refused, and rows by tag are rejected, since a request with two tags is in two of them.
A row only grows: the greater `updated_at`, else the greater number of requests, is the newer version of it.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.gateway.lines import clean, in_lines, macros, number_lines
from pipelines.sources.reading import where
from pipelines.sources.texts import ALL_SUFFIXES, load

WHOSE = {"team_id": "DailyTeamSpend", "organization_id": "DailyOrganizationSpend", "end_user_id": "DailyEndUserSpend",
         "agent_id": "DailyAgentSpend", "tag": "DailyTagSpend", "user_id": "DailyUserSpend"}  # fmt: skip
KEY = ("date", "api_key", "model", "model_group", "custom_llm_provider", "mcp_namespaced_tool_name", "endpoint", *WHOSE)
COUNTED = ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
           "api_requests", "successful_requests", "failed_requests")  # fmt: skip
OPTIONAL = ("model_group", "custom_llm_provider", "mcp_namespaced_tool_name", "endpoint", "spend", "updated_at", *WHOSE)

KINDS = {**dict.fromkeys((*COUNTED, "spend"), "number"), "date": "time", "updated_at": "time"}


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per record; `source` adds nothing."""
    macros(con)
    columns = load(con, delivery, {name: (name,) for name in (*KEY, *COUNTED, "spend", "updated_at")}, OPTIONAL, KINDS)
    con.execute(f"create or replace temp table days as select source_row, bad_record, {_named(columns)} from texts")
    con.execute("drop table texts")
    present = [name for name in WHOSE if con.execute(f"select count({name}) from days").fetchall()[0][0]]
    if len(present) > 1:
        what = f"rows of {WHOSE[present[0]]} and {WHOSE[present[1]]} together"
        raise Refused(what, where(delivery, delivery.paths[0]), "deliver one of the tables: they count the same requests")
    clean(con, SELECT, inclusive=True, fault="fault")
    con.execute("drop table days")
    number_lines(con, delivery)


def _named(columns: dict[str, str]) -> str:
    return ", ".join(f"nullif(trim({column}), '') as {name}" for name, column in columns.items())


SELECT = f"""
select
    source_row,
    if(date is null, null, md5(to_json([{', '.join(KEY)}])::varchar)) as event_id,
    coalesce(any_time(updated_at, 'UTC')::varchar, lpad(api_requests, 20, '0')) as event_version,
    in_range(try_strptime(date[:10], '%Y-%m-%d')) as occurred_at,
    team_id as gateway_team,
    end_user_id as customer_id,
    api_key as api_key_id,
    custom_llm_provider as provider,
    model as model_as_logged,
    case
        when contains(endpoint, 'embeddings') then 'embedding'
        when contains(endpoint, 'rerank') then 'rerank'
        when contains(endpoint, 'image') then 'image'
        when contains(endpoint, 'audio') then 'audio'
        when contains(endpoint, 'chat') or contains(endpoint, 'messages') or contains(endpoint, 'responses') then 'chat'
        when contains(endpoint, 'completions') then 'completion'
        else 'other' end as operation,
    if(count_of(successful_requests) = 0 and count_of(failed_requests) > 0, 'failure', 'success') as status,
    prompt_tokens as input_tokens,
    cache_read_input_tokens as cache_read_tokens,
    cache_creation_input_tokens as cache_write_5m_tokens,
    completion_tokens as output_tokens,
    api_requests as requests,
    spend as source_cost,
    bad_record,
    case
        when tag is not null then 'tags_overlap'
        when api_requests is null or prompt_tokens is null or completion_tokens is null then 'missing_counts'
        when whole_number(api_requests) and count_of(successful_requests) + count_of(failed_requests) > count_of(api_requests)
            then 'requests_do_not_add_up' end as fault
from days
"""

FORMAT = Format("litellm_daily", "gateway", ALL_SUFFIXES, read, line_records=in_lines)
