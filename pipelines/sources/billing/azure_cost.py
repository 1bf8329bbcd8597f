"""Azure cost details exports: actual cost, amortized cost, or both of one month as one bill.

The two tell the same use twice and are never added. Where both arrive (files or export folders whose names differ by
`actual` and `amortized`), billed cost is the sum of the actual file, and quantity and effective cost are those of the
amortized file: a reservation is billed when it was bought and counts where it was used or idle. A file named neither
is a bill of its own, whose cost is both; amortized cost alone is refused, it does not tell what was billed. Column names differ by agreement; COLUMNS lists them. The bill's currency is
the billing currency. Provisioned throughput (PTU) and Claude consumption units tell no model. Tags, names and addresses
are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.billing import foundry, manifests, meanings
from pipelines.sources.billing.tables import cover_periods, load_tables, refuse_first_row
from pipelines.sources.reading import create_parsed, known_currencies, macros, where

DATASETS = ("actual", "amortized")
COLUMNS = {  # ours -> theirs, in lower case; the first that is there counts
    "date": ("date", "usagedate", "usagedatetime"),
    "account": ("billingaccountid",),
    "subscription": ("subscriptionid", "subscriptionguid"),
    "resource_id": ("resourceid", "instanceid", "instancename"),
    "category": ("metercategory",),
    "subcategory": ("metersubcategory",),
    "meter": ("metername",),
    "meter_id": ("meterid",),
    "region": ("meterregion", "resourcelocation", "location"),
    "unit": ("unitofmeasure",),
    "quantity": ("quantity", "usagequantity"),
    "cost": ("costinbillingcurrency", "cost", "pretaxcost"),
    "currency": ("billingcurrency", "billingcurrencycode", "currency", "currencycode"),
    "payg_cost": ("paygcostinbillingcurrency",),
    "payg_price": ("paygprice",),
    "pricing_currency": ("pricingcurrency", "pricingcurrencycode"),
    "exchange_rate": ("exchangeratepricingtobilling",),
    "charge_type": ("chargetype",),
    "frequency": ("frequency",),
    "pricing_model": ("pricingmodel",),
    "publisher": ("publishername",),
    "publisher_type": ("publishertype",),
    "reservation_id": ("reservationid",),
    "reservation_name": ("reservationname",),
    "invoice_id": ("invoiceid",),
    "period_start": ("billingperiodstartdate", "billingperiodstart"),
    "period_end": ("billingperiodenddate", "billingperiodend"),
}
REQUIRED = ("date", "subscription", "category", "meter", "unit", "quantity", "cost", "currency", "charge_type")
NUMBERS = ("quantity", "cost", "payg_cost", "payg_price", "exchange_rate")
KINDS = {**dict.fromkeys(NUMBERS, "number"), **dict.fromkeys(("date", "period_start", "period_end"), "time")}
TYPES = {  # ChargeType, in lower case -> charge category
    "usage": "Usage",
    "unusedreservation": "Usage",
    "unusedsavingsplan": "Usage",
    "purchase": "Purchase",
    "tax": "Tax",
    "credit": "Credit",
    "refund": "Adjustment",
    "roundingadjustment": "Adjustment",
    "adjustment": "Adjustment",
}
FREQUENCIES = {"usagebased": "Usage-Based", "recurring": "Recurring", "onetime": "One-Time"}


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every account and billing period, whole; any bad line refuses the delivery."""
    macros(con)
    con.execute(MACROS)
    known_currencies(con)
    found = load_tables(con, delivery, "azure_rows", COLUMNS, REQUIRED, kinds=KINDS)
    account = getattr(source, "billing_account_id", None)
    if account is None and "account" not in found:
        what = "no column names the billing account"
        raise Refused(what, where(delivery, delivery.paths[0]), "add billing_account_id to the source in sources.yaml")
    told = [_dataset(path) for path in delivery.paths]
    both = set(told) == set(DATASETS)
    numbers = ", ".join(f'plain("{name}", 0) as "{name}"' for name in NUMBERS)
    con.execute(
        f"create or replace temp table azure_lines as select * replace ({numbers}),"
        " case when $both then $told[file + 1] else 'plain' end as dataset,"
        " us_day(coalesce(period_start, date)) as period_day from azure_rows",
        {"both": both, "told": told},
    )
    refuse_first_row(con, delivery, _problems(), {"types": list(TYPES), "account": account})
    if both:
        _same_periods(con, delivery)
    _meanings(con)
    params = {
        "account": account,
        "types": list(TYPES),
        "categories": list(TYPES.values()),
        "frequencies": list(FREQUENCIES),
        "words": list(FREQUENCIES.values()),
    }
    create_parsed(con, "billing", SELECT, params)
    cover_periods(con)


# us_day   MM/DD/YYYY or YYYY-MM-DD
# factor   a number where DECIMAL(19,9) holds it whole
# product  of two texts, rounded to twelve decimals half even; NULL where one has more digits than that
MACROS = """
create or replace temp macro us_day(t) as coalesce(try_strptime(t, '%m/%d/%Y')::date, written_day(t));
create or replace temp macro factor(t) as
    case when try_cast(t as decimal(38, 18)) = try_cast(t as decimal(19, 9)) then try_cast(t as decimal(19, 9)) end;
create or replace temp macro product(a, b) as round_even(factor(a) * factor(b), 12)::decimal(38, 12);
"""


def _dataset(path: Path) -> str:
    """The word that stands last in the path: landing pairs what differs by it."""
    text = str(path).lower()
    return max(DATASETS, key=text.rfind)


def _problems() -> str:
    """SQL for the first bad record."""
    tests = [f"when {name} is null then '{COLUMNS[name][0]} is empty'" for name in ("date", "cost", "currency", "charge_type")]
    tests += [
        f"when {name} is not null and (not is_number({name}) or rounded({name}) is null)"
        f" then '{COLUMNS[name][0]} is not a number: ' || shown({name})"
        for name in NUMBERS
    ]
    tests += [
        f"when {name} is not null and us_day({name}) is null then '{COLUMNS[name][0]} is not a day (MM/DD/YYYY): ' || shown({name})"
        for name in ("date", "period_start", "period_end")
    ]
    tests += [
        "when us_day(period_end) < us_day(period_start) then 'the billing period ends before it starts'",
        "when upper(currency) not in (from currencies) then 'unknown currency: ' || left(currency, 10)",
        "when lower(charge_type) not in (select unnest($types)) then 'unknown ChargeType: ' || shown(charge_type)",
        "when dataset = 'plain' and lower(charge_type) like 'unused%' then 'this is the amortized cost alone, which does not tell what was billed'",
        "when account <> $account then 'another billing account than sources.yaml names: ' || left(account, 40)",
        "when coalesce(account, $account) is null then 'BillingAccountId is empty'",
    ]
    return (
        f"select file, line, case {' '.join(tests)} end as problem from azure_lines where problem is not null order by record limit 1"
    )


def _same_periods(con: duckdb.DuckDBPyConnection, delivery: Delivery) -> None:
    """Half of a month would be billed without being used, or the other way round."""
    told = dict(
        con.execute("select dataset, string_agg(distinct strftime(period_day, '%Y-%m'), ', ') from azure_lines group by all").fetchall()
    )
    actual, amortized = (told.get(dataset) for dataset in DATASETS)
    if {*(actual or "").split(", ")} != {*(amortized or "").split(", ")}:
        what = f"actual cost is of {actual or 'no month'}, amortized cost of {amortized or 'no month'}"
        raise Refused(what, where(delivery, delivery.paths[0]), "deliver both datasets of the same months")


def _meanings(con: duckdb.DuckDBPyConnection) -> None:
    """`meanings` of the token meters."""
    names = con.execute("select distinct meter from azure_lines where meter is not null order by 1").fetchall()
    meanings.register(con, ["name"], {(name,): foundry.meaning(name) for (name,) in names})


SELECT = """
with typed as (
    select
        l.*,
        m.* exclude (name),
        map($types::varchar[], $categories::varchar[])[lower(charge_type)] as charge_category,
        -- 1K, 1M, 1,000 ...: how many tokens a unit is, as a power of ten
        case when m.name is not null then token_power(regexp_replace(unit, '( ?tokens?)?$', ' tokens', 'i')) end as power,
        rounded(cost) as amount,
        coalesce(pricing_model in ('Reservation', 'SavingsPlan') or reservation_id is not null, false) as is_commitment
    from azure_lines l
    left join meanings m on m.name = l.meter
)
select
    case when publisher_type is null or lower(publisher_type) in ('azure', 'microsoft') then 'Microsoft' else publisher end as service_provider,
    coalesce(account, $account) as billing_account_id,
    subscription as sub_account_id,
    invoice_id,
    charge_category,
    concat_ws(': ', case when charge_type <> 'Usage' then charge_type end, subcategory, meter, reservation_name) as charge_description,
    map($frequencies::varchar[], $words::varchar[])[lower(frequency)] as charge_frequency,
    category as service,
    meter_id as sku_id,
    if(power is null, meter, told_meter) as sku_meter,
    told_model as model_as_logged,
    region,
    told_tier as service_tier,
    resource_id,
    if(lower(charge_type) like 'unused%', 'Unused', null) as commitment_status,
    us_day(date) as usage_date,
    us_day(date)::timestamp as charge_period_start,
    us_day(date)::timestamp + interval 1 day as charge_period_end,
    strftime(period_day, '%Y-%m') as billing_period,
    case when period_start is null then date_trunc('month', period_day)::date else period_day end as billing_period_start,
    case when period_end is null then (date_trunc('month', period_day) + interval 1 month)::date
        else us_day(period_end) + 1 end as billing_period_end,
    case when dataset <> 'actual' and charge_category = 'Usage' then rounded(plain(quantity, coalesce(power, 0)::integer)) end as consumed_quantity,
    if(power is null, unit, 'Tokens') as consumed_unit,
    case when dataset = 'actual' then if(is_commitment and charge_category = 'Purchase', amount, 0)
        when charge_category <> 'Usage' then amount
        when amount <> 0 and rounded(coalesce(payg_cost, payg_price)) = 0 then null  -- has no list price
        when payg_cost is not null then rounded(payg_cost)
        when coalesce(upper(pricing_currency), upper(currency)) = upper(currency) then product(payg_price, quantity)
        else product(product(payg_price, quantity)::varchar, exchange_rate) end as list_cost,
    case when dataset <> 'actual' or (is_commitment and charge_category = 'Purchase') then amount else 0 end as contracted_cost,
    if(dataset = 'actual', 0, amount) as effective_cost,
    if(dataset = 'amortized', 0, amount) as billed_cost,
    upper(currency) as billing_currency,
    if(dataset = 'amortized', 0, left_out(cost)) as discarded_cost,
    record as source_row
from typed
order by record
"""

FORMAT = Format(
    "azure_cost", "billing", (".csv", ".csv.gz", ".parquet"), read, manifests=manifests.ANY, pair=("actual", "amortized")
)
