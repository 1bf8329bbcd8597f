"""AWS Cost and Usage Reports: CUR 2.0 (Data Exports) and the legacy CUR, CSV or Parquet, with their manifest.

They differ in names only: `lineItem/UsageType` is `line_item_usage_type`. Billed is the unblended cost of every line, so
its sum is the invoice; effective follows the amortized cost of the vendor's own dashboards (cid-cmd, summary_view), by
line item type: TYPES below. Quantities come from use alone. Rows of split cost allocation (EKS, ECS) tell the cost of an
instance a second time and are left out. Who called is the IAM principal without the name of its session; tags, names
and addresses are not read.
"""

from __future__ import annotations

import re
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.billing import bedrock, manifests, meanings
from pipelines.sources.billing.tables import (
    are_empty,
    are_no_numbers,
    are_no_times,
    cover_periods,
    load_tables,
    refuse_first_row,
)
from pipelines.sources.reading import create_parsed, known_currencies, macros, read_text, where

REQUIRED = (
    "bill_payer_account_id", "bill_billing_period_start_date", "bill_billing_period_end_date", "line_item_usage_account_id",
    "line_item_line_item_type", "line_item_usage_start_date", "line_item_usage_end_date", "line_item_product_code",
    "line_item_usage_type", "line_item_usage_amount", "line_item_currency_code", "line_item_unblended_cost",
)  # fmt: skip
SP_UNUSED = ("savings_plan_total_commitment_to_date", "savings_plan_used_commitment")
RI_UNUSED = ("reservation_unused_amortized_upfront_fee_for_billing_period", "reservation_unused_recurring_fee")
EFFECTIVE = {  # line item type -> the columns that its effective cost is made of
    "SavingsPlanCoveredUsage": ("savings_plan_savings_plan_effective_cost",),
    "DiscountedUsage": ("reservation_effective_cost",),
    "SavingsPlanRecurringFee": SP_UNUSED,
    "RIFee": RI_UNUSED,
}
AMOUNTS = (
    "line_item_usage_amount", "line_item_unblended_cost", "pricing_public_on_demand_cost",
    "savings_plan_savings_plan_effective_cost", "reservation_effective_cost", *SP_UNUSED, *RI_UNUSED,
)  # fmt: skip
OPTIONAL = (
    "bill_invoice_id", "bill_billing_entity", "line_item_operation", "line_item_resource_id", "line_item_iam_principal",
    "line_item_line_item_description", "line_item_legal_entity", "pricing_unit", "product", "product_product_name",
    "product_region", "product_region_code", "product_sku", "reservation_reservation_arn",
    "savings_plan_savings_plan_arn", *AMOUNTS[2:],
)  # fmt: skip
TIMES = ("bill_billing_period_start_date", "bill_billing_period_end_date", "line_item_usage_start_date", "line_item_usage_end_date")
KINDS = {**dict.fromkeys(AMOUNTS, "number"), **dict.fromkeys(TIMES, "time"), "product": "object"}
TYPES = {  # line item type -> charge category, charge frequency
    "Usage": ("Usage", "Usage-Based"),
    "DiscountedUsage": ("Usage", "Usage-Based"),
    "SavingsPlanCoveredUsage": ("Usage", "Usage-Based"),
    "FlatRateSubscription": ("Usage", "Recurring"),
    "SavingsPlanNegation": ("Usage", "Usage-Based"),
    "EdpDiscount": ("Usage", "Usage-Based"),  # discounts follow what they discount
    "BundledDiscount": ("Usage", "Usage-Based"),
    "PrivateRateDiscount": ("Usage", "Usage-Based"),
    "Discount": ("Usage", "Usage-Based"),
    "SppDiscount": ("Usage", "Usage-Based"),
    "RiVolumeDiscount": ("Purchase", "One-Time"),
    "SavingsPlanRecurringFee": ("Purchase", "Recurring"),
    "RIFee": ("Purchase", "Recurring"),
    "SavingsPlanUpfrontFee": ("Purchase", "One-Time"),
    "Fee": ("Purchase", "One-Time"),
    "Tax": ("Tax", "One-Time"),
    "Credit": ("Credit", "One-Time"),
    "Refund": ("Adjustment", "One-Time"),
}


def snake(name: str) -> str:
    """`lineItem/UsageType`, `line_item_usage_type` -> `line_item_usage_type`; `reservation/ReservationARN` -> `..._arn`."""
    name = name.replace("/", "_")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of the payer's billing period, whole; any bad line refuses the delivery."""
    macros(con)
    known_currencies(con)
    columns = {name: (name,) for name in (*REQUIRED, *OPTIONAL)}
    promised = _promised(delivery)
    found = load_tables(con, delivery, "cur_rows", columns, REQUIRED, named=snake, promised=promised, kinds=KINDS)
    numbers = ", ".join(f'plain("{name}", 0) as "{name}"' for name in AMOUNTS)
    con.execute(f"create or replace temp table cur_lines as select * replace ({numbers}) from cur_rows")
    account = getattr(source, "billing_account_id", None)
    refuse_first_row(con, delivery, _problems(found), {"types": list(TYPES), "account": account})
    period = _one_payer_and_period(con, delivery)
    _meanings(con)
    types = {"million": bedrock.MILLION, "types": list(TYPES), "categories": [v[0] for v in TYPES.values()], "frequencies": [v[1] for v in TYPES.values()]}
    create_parsed(con, "billing", SELECT, types)
    cover_periods(con)
    if account and period:  # also when the report is empty
        con.execute("insert into coverage select $account, $period, null except from coverage", {"account": account, "period": period})


def _promised(delivery: Delivery) -> list[str]:
    """The columns that the manifest lists."""
    return [name for path in delivery.manifests for name in manifests.columns(read_text(delivery, path))]


def _problems(found: set[str]) -> str:
    """SQL for the first bad record."""
    unnamed = ("line_item_usage_type", "line_item_usage_amount", "line_item_usage_account_id", "line_item_product_code")
    tests = [*are_empty([name for name in REQUIRED if name not in unnamed]), *are_no_numbers(AMOUNTS), *are_no_times(TIMES)]
    tests += [
        "when moment(line_item_usage_end_date) < moment(line_item_usage_start_date) then 'the usage ends before it starts'",
        "when moment(bill_billing_period_end_date) <= moment(bill_billing_period_start_date) then 'the billing period ends before it starts'",
        "when upper(line_item_currency_code) not in (from currencies) then 'unknown currency: ' || left(line_item_currency_code, 10)",
        "when line_item_line_item_type not in (select unnest($types)) then 'unknown line item type: ' || shown(line_item_line_item_type)",
        "when bill_payer_account_id <> $account then 'another payer account than sources.yaml names: ' || left(bill_payer_account_id, 40)",
    ]
    for type_, needed in EFFECTIVE.items():
        for name in needed:
            gone = "is empty" if name in found else "is not in the export"
            tests.append(
                f"when line_item_line_item_type = '{type_}' and \"{name}\" is null"
                f" then '{name} {gone}, and without it nothing tells the effective cost of a {type_}'"
            )
    return (
        f"select file, line, case {' '.join(tests)} end as problem from cur_lines where problem is not null order by record limit 1"
    )


def _one_payer_and_period(con: duckdb.DuckDBPyConnection, delivery: Delivery) -> str | None:
    """The billing period that the manifest names. A delivery replaces what it covers whole, so it is of one payer and month."""
    period = next((manifests.period(read_text(delivery, path)) for path in delivery.manifests), None)
    found = con.execute(
        "select distinct bill_payer_account_id, left(bill_billing_period_start_date, 7) from cur_lines order by all limit 2"
    ).fetchall()
    if len(found) > 1 or (found and period and found[0][1] != period):
        what = f"lines of another billing period than the manifest's {period}" if len(found) == 1 else "lines of several payers or months"
        raise Refused(what, where(delivery, delivery.paths[0]), "deliver the files of one report and month as one set")
    return period


def _meanings(con: duckdb.DuckDBPyConnection) -> None:
    """`cur_named`, the lines with the name of their product, and `meanings` of what Bedrock sells."""
    con.execute(
        """
        create or replace temp table cur_named as
        select
            *,
            coalesce(try_cast(product as json) ->> '$.product_name', product_product_name) as product_name,
            coalesce(try_cast(product as json) ->> '$.region_code', try_cast(product as json) ->> '$.region') as product_map_region
        from cur_lines
        where coalesce(line_item_operation, '') not in ('EKSPod-EC2', 'ECSTask-EC2')
        """
    )
    pairs = con.execute(
        """
        select distinct line_item_usage_type, product_name
        from cur_named
        where line_item_product_code like 'AmazonBedrock%' or product_name like '%(Amazon Bedrock Edition)'
        """
    ).fetchall()
    told = {(usage, product): bedrock.meaning(usage or "", product) for usage, product in pairs}
    meanings.register(con, ["usage_type", "product"], told)


SELECT = """
with typed as (
    select
        c.*,
        m.told_model as model,
        m.told_tier as tier,
        -- Marketplace counts millions of tokens and calls them Units; a meter counts only where the unit is known
        case when m.told_meter = 'images' then 0
            when m.told_meter is not null then coalesce(token_power(pricing_unit),
                case when bill_billing_entity = 'AWS Marketplace' and pricing_unit = 'Units' then $million end) end as power,
        m.told_meter as meter,
        map($types::varchar[], $categories::varchar[])[line_item_line_item_type] as category,
        map($types::varchar[], $frequencies::varchar[])[line_item_line_item_type] as frequency,
        line_item_line_item_type in ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'FlatRateSubscription') as is_use,
        rounded(line_item_unblended_cost) as unblended
    from cur_named c
    left join meanings m on m.usage_type is not distinct from c.line_item_usage_type
        and m.product is not distinct from c.product_name
        and (c.line_item_product_code like 'AmazonBedrock%' or c.product_name like '%(Amazon Bedrock Edition)')
)
select
    case when bill_billing_entity = 'AWS Marketplace' then coalesce(line_item_legal_entity, bill_billing_entity) else 'AWS' end
        as service_provider,
    bill_payer_account_id as billing_account_id,
    line_item_usage_account_id as sub_account_id,
    bill_invoice_id as invoice_id,
    category as charge_category,
    concat_ws(': ', case when line_item_line_item_type <> 'Usage' then line_item_line_item_type end, line_item_line_item_description)
        as charge_description,
    frequency as charge_frequency,
    coalesce(product_name, line_item_product_code) as service,
    product_sku as sku_id,
    if(power is null, line_item_usage_type, meter) as sku_meter,
    model as model_as_logged,
    coalesce(product_region_code, product_region, product_map_region) as region,
    tier as service_tier,
    line_item_resource_id as resource_id,
    regexp_replace(line_item_iam_principal, '(:assumed-role/[^/]+)/.*$', '\\1') as api_key_id,
    -- What a fee costs effectively is the part of it that nobody used.
    if(line_item_line_item_type in ('SavingsPlanRecurringFee', 'RIFee'), 'Unused', null) as commitment_status,
    written_day(line_item_usage_start_date) as usage_date,
    moment(line_item_usage_start_date) as charge_period_start,
    moment(line_item_usage_end_date) as charge_period_end,
    left(bill_billing_period_start_date, 7) as billing_period,
    written_day(bill_billing_period_start_date) as billing_period_start,
    (moment(bill_billing_period_end_date) - interval 1 microsecond)::date + 1 as billing_period_end,
    case when is_use then rounded(plain(line_item_usage_amount, coalesce(power, 0)::integer)) end as consumed_quantity,
    case when meter = 'images' then 'Images' when power is not null then 'Tokens' else pricing_unit end as consumed_unit,
    case when is_use then rounded(pricing_public_on_demand_cost) when category = 'Usage' then 0 else unblended end as list_cost,
    if(line_item_line_item_type = 'SavingsPlanNegation', 0, unblended) as contracted_cost,
    case
        when line_item_line_item_type = 'SavingsPlanCoveredUsage' then rounded(savings_plan_savings_plan_effective_cost)
        when line_item_line_item_type = 'DiscountedUsage' then rounded(reservation_effective_cost)
        when line_item_line_item_type = 'SavingsPlanRecurringFee'
            then rounded(savings_plan_total_commitment_to_date) - rounded(savings_plan_used_commitment)
        when line_item_line_item_type = 'RIFee'
            then rounded(reservation_unused_amortized_upfront_fee_for_billing_period) + rounded(reservation_unused_recurring_fee)
        when line_item_line_item_type in ('SavingsPlanNegation', 'SavingsPlanUpfrontFee') then 0
        when line_item_line_item_type = 'Fee' and reservation_reservation_arn is not null then 0
        when line_item_line_item_type = 'Refund' and savings_plan_savings_plan_arn is not null then 0
        else unblended
    end as effective_cost,
    unblended as billed_cost,
    upper(line_item_currency_code) as billing_currency,
    left_out(line_item_unblended_cost) as discarded_cost,
    record as source_row
from typed
order by record
"""

FORMAT = Format("aws_cur", "billing", (".csv", ".csv.gz", ".parquet"), read, manifests=manifests.AWS)
