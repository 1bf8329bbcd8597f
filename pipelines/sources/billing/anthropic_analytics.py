"""Anthropic `/v1/organizations/analytics/cost`: pages of rows, one a day and combination, asked for with `time_bucket_width=1d`.

Amounts are decimal texts in cents, with fractions of a cent: `amount` after discount and before credits, `list_amount` before
discount. Group by `api_key_id`, `workspace_id`, `model`, `cost_type` and `token_type`. Groups of people overlap or leave cost out:
such an answer is refused. Who the actor is, is not read. Shape: the public API reference (beta 2026-08-24), November 2026.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.anthropic_costs import METERS, bucket_times
from pipelines.sources.billing.pages import cover_days, load_rows, refuse_first
from pipelines.sources.reading import create_parsed

FIELDS = """{"cost": {"amount": "VARCHAR", "list_amount": "VARCHAR", "currency": "VARCHAR"}, "group": {"workspace_id": "VARCHAR",
    "api_key_id": "VARCHAR", "model": "VARCHAR", "cost_type": "VARCHAR", "token_type": "VARCHAR", "service_tier": "VARCHAR",
    "inference_geo": "VARCHAR", "product": "VARCHAR", "rbac_group_id": "VARCHAR"}}"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every day from the first row's to the last's; any bad row refuses the page set."""
    load_rows(con, delivery, bucket_times)
    con.execute(
        """
        create or replace temp table costs as
        select
            * exclude (cost, "group", fields), plain(cost.amount, -2) as amount, plain(cost.list_amount, -2) as list_amount,
            cost.currency as currency, unnest("group"), regexp_matches(fields, '"claude_tag_[a-z_]*": "') as is_tagged
        from (select *, unnest(json_transform(fields, $fields)) from results)
        """,
        {"fields": FIELDS},
    )
    refuse_first(con, PROBLEMS)
    names = {"account": source.billing_account_id, "names": list(METERS), "meters": list(METERS.values())}
    create_parsed(con, "billing", SELECT, names)
    cover_days(con, source.billing_account_id)


PROBLEMS = """
select
    place,
    case
        when rbac_group_id is not null then 'grouped by rbac_group_id, whose groups overlap'
        when is_tagged then 'grouped by a tag, which leaves cost out'
        when amount is null then 'amount is missing'
        when not is_number(amount) or rounded(amount) is null then 'amount is not an amount: ' || left(amount, 30)
        when list_amount is not null and (not is_number(list_amount) or rounded(list_amount) is null)
            then 'list_amount is not an amount: ' || left(list_amount, 30)
        when currency is null then 'currency is missing'
        when upper(currency) not in (from currencies) then 'unknown currency: ' || left(currency, 10)
        when upper(currency) <> 'USD' then 'amounts are cents of USD, and this one is in ' || upper(currency)
    end as problem
from costs
where problem is not null
order by record
limit 1
"""

SELECT = """
select
    'Anthropic' as service_provider,
    $account as billing_account_id,
    workspace_id as sub_account_id,
    api_key_id,
    'Usage' as charge_category,
    coalesce(product, cost_type) as charge_description,
    'Usage-Based' as charge_frequency,
    'Claude API' as service,
    coalesce(map($names::varchar[], $meters::varchar[])[token_type], token_type, cost_type) as sku_meter,
    model as model_as_logged,
    inference_geo as region,
    service_tier,
    day as usage_date,
    day::timestamp as charge_period_start,
    day::timestamp + interval 1 day as charge_period_end,
    strftime(day, '%Y-%m') as billing_period,
    date_trunc('month', day)::date as billing_period_start,
    (date_trunc('month', day) + interval 1 month)::date as billing_period_end,
    case when cost_type = 'tokens' then 'Tokens' end as consumed_unit,
    rounded(list_amount) as list_cost,
    rounded(amount) as effective_cost,
    rounded(amount) as billed_cost,
    upper(currency) as billing_currency,
    left_out(amount) as discarded_cost,
    record as source_row
from costs
order by record
"""

FORMAT = Format("anthropic_analytics", "billing", (".json", ".json.gz"), read, pages=True, needs_account=True)
