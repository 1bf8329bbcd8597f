"""Fireworks' billing metrics, a CSV: tokens and accelerator seconds, and no money at all. Evidence of quantity.

Prompt tokens are the whole input: the file does not say what a cache served. Who used it (`email`) is not read.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import load_rows
from pipelines.sources.billing.pages import refuse_first
from pipelines.sources.billing.usage import parse_usage
from pipelines.sources.reading import where

COUNTS = ("accelerator_seconds", "prompt_tokens", "completion_tokens")
COLUMNS = ("start_time", "usage_type", "base_model_name", *COUNTS)


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` from the first to the last day; any bad row refuses the file."""
    load_rows(con, delivery, COLUMNS, numbers=COUNTS)
    tests = [rf"when not regexp_full_match({name}, '\d{{1,18}}(\.\d{{1,12}})?') then '{name} is not a count'" for name in COUNTS]
    refuse_first(
        con,
        "select $place || ' record ' || record as place, case when written_day(start_time) is null then 'start_time is not a time'"
        f" {' '.join(tests)} end as problem from rows where problem is not null order by record limit 1",
        {"place": where(delivery, delivery.paths[0])},
    )
    parse_usage(con, SELECT, {"account": source.billing_account_id})


SELECT = """
with metered as (
    select
        *,
        unnest([
            {'meter': 'input', 'count': prompt_tokens, 'unit': 'Tokens'},
            {'meter': 'output', 'count': completion_tokens, 'unit': 'Tokens'},
            {'meter': 'accelerator_seconds', 'count': accelerator_seconds, 'unit': 'Seconds'}
        ]) as m
    from rows
)
select
    'billing_metrics' as report,
    $account as billing_account_id,
    base_model_name as model_as_logged,
    written_day(start_time) as usage_date,
    m.meter as meter,
    m.count::decimal(38, 12) as quantity,
    m.unit as unit,
    false as derived,
    record as source_row
from metered
"""

FORMAT = Format("fireworks", "usage", (".csv", ".csv.gz"), read, needs_account=True)
