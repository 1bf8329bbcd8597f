"""FOCUS Cost and Usage, 1.0 to 1.4, as CSV or Parquet: a snapshot of the billing periods it names.

What differs between the versions is a column's name or presence, so one reader takes the first name that is there.
1.0 writes NULL for nothing. Metadata beside the files must not contradict their columns. An export with a manifest (AWS Data Exports, Azure Cost Management) is read as one bill.
Until 1.5 no column names a model: where a row does not say it either way, AWS's and Microsoft's own words for what they
sell are looked up.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.billing import bedrock, focus_metadata, foundry, manifests, meanings
from pipelines.sources.billing.tables import (
    are_empty,
    are_no_numbers,
    are_no_times,
    cover_periods,
    header_of,
    load_tables,
    refuse_first_row,
)
from pipelines.sources.reading import create_parsed, known_currencies, macros, where

REQUIRED = (
    "BilledCost", "EffectiveCost", "BillingAccountId", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd",
    "ChargeCategory", "ChargePeriodStart", "ChargePeriodEnd", "ServiceName",
)  # fmt: skip
OPTIONAL = (
    "ServiceProviderName", "ProviderName", "SubAccountId", "InvoiceId", "ChargeClass", "ChargeDescription",
    "ChargeFrequency", "SkuId", "SkuMeter", "x_SkuMeter", "SkuPriceDetails", "x_ModelId", "x_ServiceTier", "RegionId",
    "ResourceId", "CredentialId", "x_CredentialId", "ConsumedQuantity", "ConsumedUnit", "ListCost", "ContractedCost",
    "x_UsageType", "x_SkuMeterName", "CommitmentDiscountStatus",
)  # fmt: skip
NUMBERS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ConsumedQuantity")
TIMES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
KINDS = {**dict.fromkeys(NUMBERS, "number"), **dict.fromkeys(TIMES, "time"), "SkuPriceDetails": "object"}
CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")

METERS = {  # the bill's name of a meter, in lower case -> ours
    "input tokens": "input_uncached",
    "uncached input tokens": "input_uncached",
    "cache read input tokens": "cache_read",
    "cached input tokens": "cache_read",
    "cache write input tokens": "cache_write_5m",
    "cache write 5m input tokens": "cache_write_5m",
    "cache write 1h input tokens": "cache_write_1h",
    "output tokens": "output",
    "reasoning tokens": "reasoning",
    "audio input tokens": "audio_input",
    "audio output tokens": "audio_output",
}
DIRECTIONS = {  # TokenDirection and TokenCacheAction of SkuPriceDetails, where no meter is named
    "input": "input_uncached",
    "input uncached": "input_uncached",
    "input read": "cache_read",
    "input write": "cache_write_5m",
    "output": "output",
}


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed` and `coverage` (every billing account and period of the files, whole); any bad line refuses the bill."""
    macros(con)
    known_currencies(con)
    for path in delivery.paths if delivery.beside else ():
        focus_metadata.check(delivery, path, header_of(con, delivery, path))
    columns = {name: (name.lower(),) for name in (*REQUIRED, *OPTIONAL)}
    found = load_tables(con, delivery, "focus_rows", columns, REQUIRED, nothing=("", "NULL"), kinds=KINDS)
    if not {"ServiceProviderName", "ProviderName"} & found:
        problem = "column ServiceProviderName (ProviderName until 1.3) is missing"
        raise Refused(problem, where(delivery, delivery.paths[0]), "deliver the file with its full header")
    _meanings(con)
    power = {"ConsumedQuantity": "coalesce(power, 0)::integer"}  # tokens, one by one
    numbers = ", ".join(f'plain("{name}", {power.get(name, 0)}) as "{name}"' for name in NUMBERS)
    con.execute(f"create or replace temp table focus_lines as select * replace ({numbers}) from focus_named")
    _check(con, delivery, getattr(source, "billing_account_id", None))
    names = {"meter_names": list(METERS), "meters": list(METERS.values())}
    create_parsed(
        con, "billing", SELECT, {**names, "directions": list(DIRECTIONS), "directed": list(DIRECTIONS.values())}
    )
    cover_periods(con)


def _meanings(con: duckdb.DuckDBPyConnection) -> None:
    """Temp table `focus_named`: the rows, what the vendor's own words say, and the power of ten of a unit of tokens."""
    con.execute(
        """
        create or replace temp table focus_told as
        select
            *,
            try_cast("SkuPriceDetails" as json) as details,
            coalesce("x_ModelId", details ->> '$.x_ModelId', details ->> '$.ModelId') as said_model,
            case when said_model is not null then null
                when "ServiceName" ilike '%bedrock%' then 'bedrock'
                when coalesce("ServiceProviderName", "ProviderName") ilike 'microsoft%' then 'foundry' end as vendor,
            case vendor when 'bedrock' then coalesce("x_UsageType", "SkuMeter")
                when 'foundry' then coalesce("x_SkuMeterName", "SkuMeter") end as words
        from focus_rows
        """
    )
    pairs = con.execute(
        'select distinct vendor, words, case vendor when \'bedrock\' then "ServiceName" end from focus_told where words is not null'
    ).fetchall()
    told = {
        (vendor, words, service): bedrock.meaning(words, service) if vendor == "bedrock" else foundry.meaning(words)
        for vendor, words, service in pairs
    }
    meanings.register(con, ["vendor", "words", "service"], told)
    con.execute(
        """
        create or replace temp table focus_named as
        select
            t.*,
            m.told_model,
            m.told_meter,
            m.told_tier,
            coalesce(token_power("ConsumedUnit"), case when m.vendor = 'bedrock' and m.told_meter <> 'images'
                and "ConsumedUnit" = 'Units' and m.service like '%(Amazon Bedrock Edition)' then $million end) as power
        from focus_told t
        left join meanings m on m.vendor = t.vendor and m.words = t.words
            and (m.service is null or m.service = t."ServiceName")
        """,
        {"million": bedrock.MILLION},
    )


def _check(con: duckdb.DuckDBPyConnection, delivery: Delivery, account: str | None) -> None:
    """Refuses the file for its first bad record."""
    tests = [*are_empty(REQUIRED), *are_no_numbers(NUMBERS), *are_no_times(TIMES)]
    tests += [
        'when moment("ChargePeriodEnd") < moment("ChargePeriodStart") then \'ChargePeriodEnd is before ChargePeriodStart\'',
        'when moment("BillingPeriodEnd") <= moment("BillingPeriodStart") then \'BillingPeriodEnd is not after BillingPeriodStart\'',
        'when upper("BillingCurrency") not in (from currencies) then \'unknown currency: \' || left("BillingCurrency", 10)',
        'when "ChargeCategory" not in (select unnest($categories)) then \'unknown ChargeCategory: \' || left("ChargeCategory", 30)',
        'when "BillingAccountId" <> $account then \'another billing account than sources.yaml names: \' || left("BillingAccountId", 40)',
    ]
    refuse_first_row(
        con,
        delivery,
        f"select file, line, case {' '.join(tests)} end as problem from focus_lines where problem is not null order by record limit 1",
        {"categories": list(CATEGORIES), "account": account},
    )


SELECT = r"""
with priced as (
    select
        *,
        coalesce("SkuMeter", "x_SkuMeter", words) as meter_text
    from focus_lines
),
named as (
    select
        *,
        trim(lower(concat_ws(' ',
            coalesce(details ->> '$.x_TokenDirection', details ->> '$.TokenDirection'),
            coalesce(details ->> '$.x_TokenCacheAction', details ->> '$.TokenCacheAction')))) as direction
    from priced
)
select
    coalesce("ServiceProviderName", "ProviderName") as service_provider,
    "BillingAccountId" as billing_account_id,
    "SubAccountId" as sub_account_id,
    "InvoiceId" as invoice_id,
    "ChargeCategory" as charge_category,
    "ChargeClass" as charge_class,
    "ChargeDescription" as charge_description,
    "ChargeFrequency" as charge_frequency,
    "ServiceName" as service,
    "SkuId" as sku_id,
    coalesce(
        map($meter_names::varchar[], $meters::varchar[])[lower(meter_text)],
        case when power is not null then told_meter end,
        meter_text,
        map($directions::varchar[], $directed::varchar[])[direction]) as sku_meter,
    coalesce(said_model, told_model) as model_as_logged,
    "RegionId" as region,
    lower(coalesce("x_ServiceTier", details ->> '$.x_ServiceTier', details ->> '$.x_ProcessingTier', told_tier)) as service_tier,
    "ResourceId" as resource_id,
    coalesce("CredentialId", "x_CredentialId") as api_key_id,
    "CommitmentDiscountStatus" as commitment_status,
    written_day("ChargePeriodStart") as usage_date,
    moment("ChargePeriodStart") as charge_period_start,
    moment("ChargePeriodEnd") as charge_period_end,
    left("BillingPeriodStart", 7) as billing_period,
    written_day("BillingPeriodStart") as billing_period_start,
    (moment("BillingPeriodEnd") - interval 1 microsecond)::date + 1 as billing_period_end,
    rounded("ConsumedQuantity") as consumed_quantity,
    if(power is null, "ConsumedUnit", 'Tokens') as consumed_unit,
    rounded("ListCost") as list_cost,
    rounded("ContractedCost") as contracted_cost,
    rounded("EffectiveCost") as effective_cost,
    rounded("BilledCost") as billed_cost,
    upper("BillingCurrency") as billing_currency,
    left_out("BilledCost") as discarded_cost,
    record as source_row
from named
order by record
"""

FORMAT = Format(
    "focus", "billing", (".csv", ".csv.gz", ".parquet"), read, manifests=manifests.ANY, beside=focus_metadata.describe
)
