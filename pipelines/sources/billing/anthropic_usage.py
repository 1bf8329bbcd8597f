"""Anthropic's `/v1/organizations/usage_report/messages`: tokens in pages of daily buckets. Evidence of quantity, never money.

Its token classes do not overlap. No workspace is the default one, no key is the Console. Accounts of people are not read.
`/analytics/usage_report` has the same results, with products in place of keys; grouped by people it is refused.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.anthropic_costs import bucket_times, refuse_groups_of_people
from pipelines.sources.billing.pages import load_pages, refuse_first
from pipelines.sources.billing.usage import parse_usage

FIELDS = """{"uncached_input_tokens": "VARCHAR", "cache_read_input_tokens": "VARCHAR", "output_tokens": "VARCHAR",
    "cache_creation": {"ephemeral_5m_input_tokens": "VARCHAR", "ephemeral_1h_input_tokens": "VARCHAR"},
    "server_tool_use": {"web_search_requests": "VARCHAR"}, "api_key_id": "VARCHAR", "workspace_id": "VARCHAR",
    "model": "VARCHAR", "service_tier": "VARCHAR", "context_window": "VARCHAR", "inference_geo": "VARCHAR"}"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every bucket's day; any bad result refuses the page set."""
    load_pages(con, delivery, bucket_times, FIELDS)
    refuse_groups_of_people(con)
    con.execute("create or replace temp table used as select * exclude (fields), unnest(json_transform(fields, $fields)) from results", {"fields": FIELDS})
    parse_counts(con, source.billing_account_id)


def parse_counts(con: duckdb.DuckDBPyConnection, account: str) -> None:
    """`parsed` and `coverage` of temp table `used`, one row per result with its counts as texts; a bad row refuses the page set."""
    con.execute(f"create or replace temp table counts as {COUNTS}")
    refuse_first(con, PROBLEMS)
    parse_usage(con, SELECT, {"account": account}, "select 'messages', $account, day from buckets")


COUNTS = """
select
    * exclude (cache_creation, server_tool_use),
    unnest([
        {'name': 'uncached_input_tokens', 'meter': 'input_uncached', 'count': uncached_input_tokens, 'unit': 'Tokens'},
        {'name': 'cache_read_input_tokens', 'meter': 'cache_read', 'count': cache_read_input_tokens, 'unit': 'Tokens'},
        {'name': 'cache_creation.ephemeral_5m_input_tokens', 'meter': 'cache_write_5m', 'unit': 'Tokens',
            'count': cache_creation.ephemeral_5m_input_tokens},
        {'name': 'cache_creation.ephemeral_1h_input_tokens', 'meter': 'cache_write_1h', 'unit': 'Tokens',
            'count': cache_creation.ephemeral_1h_input_tokens},
        {'name': 'output_tokens', 'meter': 'output', 'count': output_tokens, 'unit': 'Tokens'},
        {'name': 'server_tool_use.web_search_requests', 'meter': 'web_search_requests', 'unit': 'Calls',
            'count': server_tool_use.web_search_requests}
    ]) as m
from used
"""

PROBLEMS = r"""
select
    place,
    case
        when m.count is null and m.meter <> 'web_search_requests' then m.name || ' is missing'
        when not regexp_full_match(m.count, '\d{1,18}') then m.name || ' is not a count'
    end as problem
from counts
where problem is not null
order by record, problem
limit 1
"""

SELECT = """
select
    'messages' as report,
    $account as billing_account_id,
    workspace_id as sub_account_id,
    api_key_id,
    model as model_as_logged,
    inference_geo as region,
    service_tier,
    context_window,
    day as usage_date,
    m.meter as meter,
    m.count::decimal(38, 12) as quantity,
    m.unit as unit,
    false as derived,
    record as source_row
from counts
"""

FORMAT = Format("anthropic_usage", "usage", (".json", ".json.gz"), read, pages=True, needs_account=True)
