"""Anthropic `/v1/organizations/analytics/usage`: tokens in pages of rows, one a day and combination, asked for with `time_bucket_width=1d`.

The counts of usage_report/messages by more groups: evidence of quantity, never money. Group by `api_key_id`, `workspace_id`,
`model` and `service_tier`; the two reports count the same tokens, so the newer of them counts. Groups of people overlap or leave
usage out: such an answer is refused. Who the actor is, is not read. Shape: the public API reference (beta 2026-08-24), November 2026.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.anthropic_costs import bucket_times, refuse_groups_of_people
from pipelines.sources.billing.anthropic_usage import parse_counts
from pipelines.sources.billing.pages import load_rows

FIELDS = """{"usage": {"uncached_input_tokens": "VARCHAR", "cache_read_input_tokens": "VARCHAR", "output_tokens": "VARCHAR",
    "cache_creation": {"ephemeral_5m_input_tokens": "VARCHAR", "ephemeral_1h_input_tokens": "VARCHAR"},
    "server_tool_use": {"web_search_requests": "VARCHAR"}}, "group": {"workspace_id": "VARCHAR", "api_key_id": "VARCHAR",
    "model": "VARCHAR", "service_tier": "VARCHAR", "context_window": "VARCHAR", "inference_geo": "VARCHAR", "rbac_group_id": "VARCHAR"},
    "starting_at": "VARCHAR", "ending_at": "VARCHAR"}"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every day from the first row's to the last's; any bad row refuses the page set."""
    load_rows(con, delivery, bucket_times, FIELDS)
    refuse_groups_of_people(con)
    con.execute(
        """
        create or replace temp table used as
        select * exclude ("usage", "group", fields, starting_at, ending_at), unnest("usage"), unnest("group")
        from (select *, unnest(json_transform(fields, $fields)) from results)
        """,
        {"fields": FIELDS},
    )
    parse_counts(con, source.billing_account_id)


FORMAT = Format("anthropic_analytics_usage", "usage", (".json", ".json.gz"), read, pages=True, needs_account=True)
