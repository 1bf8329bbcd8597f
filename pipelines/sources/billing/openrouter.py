"""OpenRouter's activity: days of the API (`/api/v1/activity`, JSON), or single generations of the CSV export.

`usage` and `cost_total` are what OpenRouter took from the credits. Inference on one's own vendor keys (BYOK) is billed by
that vendor and never added. A day's tokens and money are one line per model; the fee on buying credits is not in here.
Who used it (`user`) is not read.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import json_list, load_objects, load_rows, parse_bill
from pipelines.sources.billing.pages import refuse_first
from pipelines.sources.reading import where

JSON, CSV = (".json", ".json.gz"), (".csv", ".csv.gz")
API = ("date", "model", "model_permaslug", "usage", "requests", "prompt_tokens", "completion_tokens")
EXPORT = ("created_at", "cost_total", "tokens_prompt", "tokens_completion", "model_permaslug", "api_key_name", "cancelled")


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` from the first to the last day; any bad record refuses the file."""
    (path,) = delivery.paths
    if path.name.endswith(JSON):
        load_objects(con, delivery, json_list(delivery, "data"), API)
        select, names, tokens = FROM_API, {"day": "date", "cost": "usage"}, API[-2:]
    else:
        load_rows(con, delivery, EXPORT, numbers=("cost_total", "tokens_prompt", "tokens_completion"))
        select, names, tokens = FROM_EXPORT, {"day": "created_at", "cost": "cost_total"}, EXPORT[2:4]
    refuse_first(
        con,
        "select $place || ' record ' || record, 'a number of tokens that is not one' from rows where not ("
        + " and ".join(rf"regexp_full_match(coalesce({name}, '0'), '\d{{1,18}}')" for name in tokens)
        + ") order by record limit 1",
        {"place": where(delivery, path)},
    )
    parse_bill(con, delivery, select, names, {"account": source.billing_account_id})


FROM_API = """
select
    record,
    $account as billing_account_id,
    date as day,
    usage as cost,
    (prompt_tokens::bigint + completion_tokens::bigint)::varchar as quantity,
    'USD' as currency,
    'OpenRouter' as service_provider,
    model as charge_description,
    'OpenRouter' as service,
    'tokens' as sku_meter,
    coalesce(model_permaslug, model) as model_as_logged,
    'Tokens' as unit
from rows
"""

FROM_EXPORT = """
select
    record,
    $account as billing_account_id,
    created_at as day,
    cost_total as cost,
    (tokens_prompt::bigint + tokens_completion::bigint)::varchar as quantity,
    'USD' as currency,
    'OpenRouter' as service_provider,
    case when cancelled = 'true' then 'cancelled generation' else 'generation' end as charge_description,
    'OpenRouter' as service,
    'tokens' as sku_meter,
    model_permaslug as model_as_logged,
    api_key_name as api_key_id,
    'Tokens' as unit
from rows
"""

FORMAT = Format("openrouter", "billing", (*JSON, *CSV), read, needs_account=True, document=True)
