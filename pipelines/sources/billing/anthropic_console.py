"""The cost export of Anthropic's Console: a CSV in dollars, one row per day, model, workspace, key and token type.

Other scale and other words than the cost report of the same vendor: dollars instead of cents, display names of models and
workspaces, mostly whole cents. It speaks for every day from its first to its last.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import load_rows, parse_bill

COLUMNS = (
    "usage_date_utc", "model", "workspace", "usage_type", "context_window", "token_type", "cost_usd", "list_price_usd", "cost_type",
    "inference_geo", "api_key_id",
)  # fmt: skip
NAMES = {"day": "usage_date_utc", "cost": "cost_usd", "list_cost": "list_price_usd"}
METERS = {  # token_type -> our meter
    "input_no_cache": "input_uncached",
    "input_cache_read": "cache_read",
    "input_cache_write_5m": "cache_write_5m",
    "input_cache_write_1h": "cache_write_1h",
    "output": "output",
}
# "Claude Haiku 4.5" is how the Console writes claude-haiku-4-5; any other text stays as it is.
MODEL_ID = """
create or replace temp macro model_id(name) as case
    when regexp_full_match(name, 'Claude( [A-Za-z]+| \\d+(\\.\\d+)?)+') then lower(regexp_replace(name, '[ .]', '-', 'g'))
    else name end
"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed` and `coverage`; any bad row refuses the file."""
    load_rows(con, delivery, COLUMNS, numbers=("cost_usd", "list_price_usd"))
    con.execute(MODEL_ID)
    params = {"account": source.billing_account_id, "names": list(METERS), "meters": list(METERS.values())}
    parse_bill(con, delivery, SELECT, NAMES, params)


SELECT = """
select
    record,
    $account as billing_account_id,
    usage_date_utc as day,
    cost_usd as cost,
    list_price_usd as list_cost,
    'USD' as currency,
    'Anthropic' as service_provider,
    workspace as sub_account_id,
    concat_ws(', ', model, token_type, context_window) as charge_description,
    'Claude API' as service,
    coalesce(map($names::varchar[], $meters::varchar[])[token_type], token_type, cost_type) as sku_meter,
    model_id(model) as model_as_logged,
    inference_geo as region,
    case when lower(usage_type) in ('standard', 'batch', 'priority', 'flex') then lower(usage_type) end as service_tier,
    api_key_id,
    case when token_type is not null then 'Tokens' end as unit
from rows
"""

FORMAT = Format("anthropic_console", "billing", (".csv", ".csv.gz"), read, needs_account=True)
