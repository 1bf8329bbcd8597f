"""Anthropic `/v1/organizations/analytics/cost`: pages of rows, one a day and combination, asked for with `time_bucket_width=1d`.

Amounts are decimal texts in cents, with fractions of a cent: `amount` after discount and before credits, `list_amount` before
discount. Group by `api_key_id`, `workspace_id`, `model`, `cost_type` and `token_type`. Groups of people overlap or leave cost out:
such an answer is refused. Who the actor is, is not read. Shape: the public API reference (beta 2026-08-24), November 2026.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.anthropic_costs import bucket_times, parse_costs, refuse_groups_of_people
from pipelines.sources.billing.pages import load_rows

FIELDS = """{"cost": {"amount": "VARCHAR", "list_amount": "VARCHAR", "currency": "VARCHAR"}, "group": {"workspace_id": "VARCHAR",
    "api_key_id": "VARCHAR", "model": "VARCHAR", "cost_type": "VARCHAR", "token_type": "VARCHAR", "service_tier": "VARCHAR",
    "inference_geo": "VARCHAR", "product": "VARCHAR", "rbac_group_id": "VARCHAR"}, "starting_at": "VARCHAR", "ending_at": "VARCHAR"}"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every day from the first row's to the last's; any bad row refuses the page set."""
    load_rows(con, delivery, bucket_times, FIELDS)
    refuse_groups_of_people(con)
    con.execute(
        """
        create or replace temp table costs as
        select
            * exclude (cost, "group", fields), plain(cost.amount, -2) as amount, plain(cost.list_amount, -2) as list_amount,
            cost.currency as currency, unnest("group"),
            coalesce("group".product, "group".cost_type) as description
        from (select *, unnest(json_transform(fields, $fields)) from results)
        """,
        {"fields": FIELDS},
    )
    parse_costs(con, source.billing_account_id)


FORMAT = Format("anthropic_analytics", "billing", (".json", ".json.gz"), read, pages=True, needs_account=True)
