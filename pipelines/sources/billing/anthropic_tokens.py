"""The token export of Anthropic's Console, a CSV: the counts of usage_report/messages under the names of keys and workspaces."""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import load_rows
from pipelines.sources.billing.pages import refuse_first
from pipelines.sources.billing.usage import parse_usage
from pipelines.sources.reading import where

METERS = {  # column -> our meter
    "usage_input_tokens_no_cache": "input_uncached",
    "usage_input_tokens_cache_write_5m": "cache_write_5m",
    "usage_input_tokens_cache_write_1h": "cache_write_1h",
    "usage_input_tokens_cache_read": "cache_read",
    "usage_output_tokens": "output",
    "web_search_count": "web_search_requests",
}
COLUMNS = ("usage_date_utc", "model_version", "api_key", "workspace", "usage_type", "context_window", "inference_geo", *METERS)


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` from the first to the last day; any bad row refuses the file."""
    load_rows(con, delivery, COLUMNS, numbers=tuple(METERS))
    tests = [f"when not coalesce(regexp_full_match({name}, '\\d{{1,18}}'), false) then '{name} is not a count'" for name in METERS]
    refuse_first(
        con,
        "select $place || ' record ' || record as place, case when written_day(usage_date_utc) is null then 'usage_date_utc is not a day'"
        f" {' '.join(tests)} end as problem from rows where problem is not null order by record limit 1",
        {"place": where(delivery, delivery.paths[0])},
    )
    params = {"account": source.billing_account_id, "columns": list(METERS), "meters": list(METERS.values())}
    parse_usage(con, SELECT, params)


SELECT = f"""
with long as (
    unpivot rows on {", ".join(METERS)} into name column_name value count
)
select
    'messages' as report,
    $account as billing_account_id,
    workspace as sub_account_id,
    api_key as api_key_id,
    model_version as model_as_logged,
    inference_geo as region,
    lower(usage_type) as service_tier,
    context_window,
    written_day(usage_date_utc) as usage_date,
    map($columns::varchar[], $meters::varchar[])[column_name] as meter,
    count::decimal(38, 12) as quantity,
    if(column_name = 'web_search_count', 'Calls', 'Tokens') as unit,
    false as derived,
    record as source_row
from long
"""

FORMAT = Format("anthropic_tokens", "usage", (".csv", ".csv.gz"), read, needs_account=True)
