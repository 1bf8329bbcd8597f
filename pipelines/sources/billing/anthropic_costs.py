"""Anthropic `/v1/organizations/cost_report`: pages of daily buckets, grouped by workspace and description.

`amount` is a decimal text in cents, with fractions of a cent; there are no quantities. No workspace is the default one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.pages import cover_days, load_pages, refuse_first
from pipelines.sources.reading import create_parsed

METERS = {  # token_type -> our meter
    "uncached_input_tokens": "input_uncached",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output",
}
FIELDS = """{"currency": "VARCHAR", "amount": "VARCHAR", "workspace_id": "VARCHAR", "description": "VARCHAR",
    "cost_type": "VARCHAR", "model": "VARCHAR", "service_tier": "VARCHAR", "token_type": "VARCHAR",
    "inference_geo": "VARCHAR"}"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every bucket's day; any bad result refuses the page set."""
    load_pages(con, delivery, bucket_times, FIELDS)
    refuse_groups_of_people(con)
    con.execute(
        "create or replace temp table costs as select * replace (plain(amount, -2) as amount), null::varchar as list_amount, null::varchar as api_key_id"
        " from (select * exclude (fields), unnest(json_transform(fields, $fields)) from results)",
        {"fields": FIELDS},
    )
    parse_costs(con, source.billing_account_id)


def parse_costs(con: duckdb.DuckDBPyConnection, account: str) -> None:
    """`parsed` and `coverage` of temp table `costs`, amounts in dollars as plain text; a bad row refuses the page set."""
    refuse_first(con, PROBLEMS)
    create_parsed(con, "billing", SELECT, {"account": account, "names": list(METERS), "meters": list(METERS.values())})
    cover_days(con, account)


def bucket_times(bucket: dict[str, Any]) -> tuple[datetime, datetime]:
    start, end = (datetime.fromisoformat(bucket[name]) for name in ("starting_at", "ending_at"))
    return start.astimezone(UTC).replace(tzinfo=None), end.astimezone(UTC).replace(tzinfo=None)


def refuse_groups_of_people(con: duckdb.DuckDBPyConnection) -> None:
    """Of temp table `results`: refuses rows whose sum is not what the organization used."""
    refuse_first(con, GROUPED)


GROUPED = """
with grouped as (
    select
        place, record, regexp_matches(fields, '"claude_tag_[a-z_]*": "') as is_tagged,
        coalesce(fields ->> '$.group.rbac_group_id', fields ->> '$.rbac_group_id') is not null as is_group
    from results
)
select place, if(is_tagged, 'grouped by a tag, which leaves some out', 'grouped by rbac_group_id, whose groups overlap') as problem
from grouped
where is_tagged or is_group
order by record
limit 1
"""

PROBLEMS = """
select
    place,
    case
        when amount is null then 'amount is missing'
        when not is_number(amount) or rounded(amount) is null
            then 'amount is not an amount: ' || shown(amount)
        when list_amount is not null and (not is_number(list_amount) or rounded(list_amount) is null)
            then 'list_amount is not an amount: ' || shown(list_amount)
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
    description as charge_description,
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

FORMAT = Format("anthropic_costs", "billing", (".json", ".json.gz"), read, pages=True, needs_account=True)
