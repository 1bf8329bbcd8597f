"""Rows of Databricks' `system.billing.usage` as JSON lines, each joined with the price of its SKU from `list_prices`.

DBUs are not money. A row is billed at `pricing.effective_list.default` (else `pricing.default`) in `currency_code`, the
columns of list_prices; a row without them is set aside with that reason, and its DBUs are evidence (databricks_usage).
The records of a day add up, whatever their type: an original, its retraction and the restatement. So a file has to hold all
records of its usage days, and one that takes back what it does not hold was cut by ingestion date: it is refused.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.billing.lines import json_lines, load_objects, parse_bill
from pipelines.sources.billing.pages import refuse_first
from pipelines.sources.reading import where

FIELDS = (
    "account_id", "workspace_id", "sku_name", "usage_date", "usage_unit", "usage_quantity", "record_type", "billing_origin_product",
)  # fmt: skip
OPTIONAL = (
    "usage_metadata.endpoint_id", "usage_metadata.warehouse_id", "usage_metadata.cluster_id", "usage_metadata.job_id",
    "pricing.effective_list.default", "pricing.default", "currency_code",
)  # fmt: skip
EXACT = Context(prec=200)


def load_usage(con: duckdb.DuckDBPyConnection, delivery: Delivery, account: str | None) -> None:
    """Temp table `rows` of usage records, whole days of them. Who ran it (`identity_metadata`) and tags are not read."""
    load_objects(con, delivery, json_lines(delivery), FIELDS, OPTIONAL)
    refuse_first(con, PROBLEMS, {"place": where(delivery, delivery.paths[0]), "account": account})


PROBLEMS = r"""
with judged as (
    select
        *,
        case
            when account_id is null or sku_name is null or usage_unit is null then 'account_id, sku_name and usage_unit are needed'
            when account_id <> $account then 'another account than sources.yaml names: ' || left(account_id, 40)
            when written_day(usage_date) is null then 'usage_date is not a day'
            when not coalesce(regexp_full_match(usage_quantity, '-?\d{1,18}(\.\d{1,18})?([eE][+-]?\d)?'), false)
                then 'usage_quantity is not a number'
            when record_type not in ('ORIGINAL', 'RETRACTION', 'RESTATEMENT') or record_type is null then 'unknown record_type'
        end as problem
    from rows
),
unfounded as (
    select account_id, workspace_id, sku_name, usage_date, max(record) as record
    from judged
    where problem is null
    group by all
    having sum(rounded(plain(usage_quantity, 0))) < 0 or count(*) filter (record_type = 'ORIGINAL') = 0
)
select $place || ' record ' || record as place, problem
from judged
where problem is not null
union all
select $place || ' record ' || record as place, 'takes back usage that the file does not hold: export whole usage days' as problem
from unfounded
limit 1
"""


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed` (rows without a price are rejected) and `coverage`; any bad record refuses the file."""
    load_usage(con, delivery, source.billing_account_id)
    priced = con.execute(PRICED).fetchall()
    con.execute(
        "create or replace temp table costs as select unnest($records::bigint[]) as record, unnest($costs::varchar[]) as cost",
        {"records": [row[0] for row in priced], "costs": [_cost(*row[1:]) for row in priced]},
    )
    parse_bill(con, delivery, SELECT, {"day": "usage_date", "cost": "price", "currency": "currency_code"})
    con.execute(
        "update parsed set reject = 'no list price: a quantity is not money' where source_row in"
        " (select r.record from rows r anti join costs c on c.record = r.record)"
    )


PRICED = """
select record, usage_quantity, coalesce("pricing.effective_list.default", "pricing.default") as price, is_number(price)
from rows
where price is not null
"""


def _cost(quantity: str, price: str, is_number: bool) -> str:
    """Quantity times price, every digit of it; what is no price stays as it is, for the judge to name."""
    try:
        return f"{EXACT.multiply(Decimal(quantity), Decimal(price)):f}" if is_number else price
    except ArithmeticError:
        return price


SELECT = """
select
    r.record,
    r.account_id as billing_account_id,
    r.usage_date as day,
    if(c.record is null, '0', c.cost) as cost,
    r.usage_quantity as quantity,
    if(c.record is null, 'USD', r.currency_code) as currency,
    'Databricks' as service_provider,
    r.workspace_id as sub_account_id,
    concat_ws(', ', r.sku_name, lower(r.record_type)) as charge_description,
    r.billing_origin_product as service,
    r.sku_name as sku_id,
    r.usage_unit as sku_meter,
    coalesce(r."usage_metadata.endpoint_id", r."usage_metadata.warehouse_id", r."usage_metadata.cluster_id",
        r."usage_metadata.job_id") as resource_id,
    r.usage_unit as unit
from rows r
left join costs c on c.record = r.record
"""

FORMAT = Format("databricks", "billing", (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"), read, line_records=True)
