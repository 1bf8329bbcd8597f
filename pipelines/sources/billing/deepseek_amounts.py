"""DeepSeek's `amount-*.csv`: tokens and requests per hour, model and key. Evidence of quantity; the money is in `cost-*.csv`.

Days are at +08:00, the vendor's own. Keys are read by their names only.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import load_rows
from pipelines.sources.billing.pages import refuse_first
from pipelines.sources.billing.usage import parse_usage
from pipelines.sources.reading import where

COLUMNS = ("start_time_iso", "end_time_iso", "model", "api_key_name", "type", "amount")
METERS = {
    "input_cache_hit_tokens": "cache_read",
    "input_cache_miss_tokens": "input_uncached",
    "output_tokens": "output",
    "request_count": "requests",
}


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` from the first to the last day; any bad row refuses the file."""
    load_rows(con, delivery, COLUMNS, numbers=("amount",))
    refuse_first(con, PROBLEMS, {"place": where(delivery, delivery.paths[0])})
    params = {"account": source.billing_account_id, "types": list(METERS), "meters": list(METERS.values())}
    parse_usage(con, SELECT, params)


PROBLEMS = r"""
select
    $place || ' record ' || record as place,
    case
        when written_day(start_time_iso) is null then 'start_time_iso is not a time'
        when type is null then 'type is empty'
        when not coalesce(regexp_full_match(amount, '\d{1,18}(\.\d{1,12})?'), false) then 'amount is not a count'
    end as problem
from rows
where problem is not null
order by record
limit 1
"""

SELECT = """
select
    'amounts' as report,
    $account as billing_account_id,
    api_key_name as api_key_id,
    model as model_as_logged,
    written_day(start_time_iso) as usage_date,
    coalesce(map($types::varchar[], $meters::varchar[])[type], type) as meter,
    amount::decimal(38, 12) as quantity,
    case when ends_with(type, '_tokens') then 'Tokens' when type = 'request_count' then 'Requests' end as unit,
    false as derived,
    record as source_row
from rows
"""

FORMAT = Format("deepseek_amounts", "usage", (".csv", ".csv.gz"), read, needs_account=True)
