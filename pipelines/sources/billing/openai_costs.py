"""OpenAI `/v1/organization/costs`: pages of daily buckets, grouped by line item and project.

The model and the token class share one text, cut at its last comma. It is about a model where the class is known or
the line counts tokens; otherwise the whole text is the meter, never a guess.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.pages import cover_days, load_pages, refuse_first
from pipelines.sources.reading import create_parsed

CLASSES = {  # what follows the last comma of a line item -> our meter
    "input_tokens": "input_uncached",
    "input": "input_uncached",
    "input_uncached_tokens": "input_uncached",
    "cached input": "cache_read",
    "cached_input": "cache_read",
    "cached_input_tokens": "cache_read",
    "input_cached_tokens": "cache_read",
    "output_tokens": "output",
    "output": "output",
    "input_audio_tokens": "audio_input",
    "audio input": "audio_input",
    "output_audio_tokens": "audio_output",
    "audio output": "audio_output",
}
FIELDS = """{"amount": {"value": "VARCHAR", "currency": "VARCHAR"}, "line_item": "VARCHAR", "project_id": "VARCHAR",
    "api_key_id": "VARCHAR", "quantity": "VARCHAR", "quantity_unit": "VARCHAR"}"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every bucket's day; any bad result refuses the page set."""
    load_pages(con, delivery, bucket_times, FIELDS)
    con.execute(
        "create or replace temp table costs as select * exclude (amount) replace"
        " (plain(quantity, if(quantity_unit = '1000_tokens', 3, 0)) as quantity),"
        " plain(amount.value, 0) as amount, amount.currency as currency"
        " from (select * exclude (fields), unnest(json_transform(fields, $fields)) from results)",
        {"fields": FIELDS},
    )
    parse_costs(con, source.billing_account_id)


def parse_costs(con: duckdb.DuckDBPyConnection, account: str) -> None:
    """`parsed` and `coverage` from temp tables `costs` (one row per amount, numbers plain) and `buckets` (every day)."""
    refuse_first(con, PROBLEMS)
    params = {"account": account, "classes": list(CLASSES), "meters": list(CLASSES.values())}
    create_parsed(con, "billing", SELECT, params)
    cover_days(con, account)


def bucket_times(bucket: dict[str, Any]) -> tuple[datetime, datetime]:
    start, end = (datetime.fromtimestamp(int(bucket[name]), UTC) for name in ("start_time", "end_time"))
    return start.replace(tzinfo=None), end.replace(tzinfo=None)


PROBLEMS = """
select
    place,
    case
        when amount is null then 'amount.value is missing'
        when not is_number(amount) or rounded(amount) is null
            then 'amount.value is not an amount: ' || shown(amount)
        when currency is null then 'amount.currency is missing'
        when upper(currency) not in (from currencies) then 'unknown currency: ' || left(currency, 10)
        when quantity is not null and (not is_number(quantity) or rounded(quantity) is null)
            then 'quantity is not a number: ' || shown(quantity)
    end as problem
from costs
where problem is not null
order by record
limit 1
"""

SELECT = """
with cut as (
    select
        *,
        nullif(trim(regexp_extract(line_item, '^(.*),', 1)), '') as head,
        lower(trim(regexp_extract(line_item, ',([^,]*)$', 1))) as tail,
        coalesce(quantity_unit in ('tokens', '1000_tokens'), false) as in_tokens
    from costs
),
known as (
    select *, map($classes::varchar[], $meters::varchar[])[tail] as meter
    from cut
),
named as (
    select *, head is not null and (meter is not null or in_tokens) as has_model
    from known
)
select
    'OpenAI' as service_provider,
    $account as billing_account_id,
    project_id as sub_account_id,
    'Usage' as charge_category,
    line_item as charge_description,
    'Usage-Based' as charge_frequency,
    'OpenAI API' as service,
    case when has_model then coalesce(meter, tail) else line_item end as sku_meter,
    case when has_model then head end as model_as_logged,
    api_key_id,
    day as usage_date,
    day::timestamp as charge_period_start,
    day::timestamp + interval 1 day as charge_period_end,
    strftime(day, '%Y-%m') as billing_period,
    date_trunc('month', day)::date as billing_period_start,
    (date_trunc('month', day) + interval 1 month)::date as billing_period_end,
    rounded(quantity) as consumed_quantity,
    case when in_tokens then 'Tokens' else quantity_unit end as consumed_unit,
    rounded(amount) as effective_cost,
    rounded(amount) as billed_cost,
    upper(currency) as billing_currency,
    left_out(amount) as discarded_cost,
    record as source_row
from named
order by record
"""

FORMAT = Format("openai_costs", "billing", (".json", ".json.gz"), read, pages=True, needs_account=True)
