"""DeepSeek's `cost-*.csv`: money per day, model and wallet, in the wallet's currency. Days are at +08:00, the vendor's own.

What was paid from granted credit is in here at its price like the rest, and its lines say so: the file has no credit line.
The quantities are in `amount-*.csv` of the same archive, which format deepseek_amounts reads.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import load_rows, parse_bill

COLUMNS = ("start_time_iso", "end_time_iso", "model", "wallet_type", "cost", "currency")


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed` and `coverage`; any bad row refuses the file."""
    load_rows(con, delivery, COLUMNS, numbers=("cost",))
    parse_bill(con, delivery, SELECT, {"day": "start_time_iso"}, {"account": source.billing_account_id})


SELECT = """
select
    record,
    $account as billing_account_id,
    start_time_iso as day,
    cost,
    currency,
    'DeepSeek' as service_provider,
    concat_ws(', ', model, wallet_type) as charge_description,
    'DeepSeek API' as service,
    'tokens' as sku_meter,
    model as model_as_logged,
    case when not coalesce(moment(end_time_iso) > moment(start_time_iso)
            and moment(end_time_iso) <= moment(start_time_iso) + interval 1 day
            and written_day(start_time_iso) in (written_day(end_time_iso), written_day(end_time_iso) - 1), false)
        then 'start_time_iso and end_time_iso are not within one day' end as problem
from rows
"""

FORMAT = Format("deepseek", "billing", (".csv", ".csv.gz"), read, needs_account=True)
