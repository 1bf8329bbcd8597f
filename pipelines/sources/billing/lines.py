"""Bills that are a plain table or list: loaded as texts, judged in one place, turned into lines and days.

A reader loads its file into the temp table `rows` and says in one SELECT what its columns mean, in the names of SAID;
`parse_bill` checks every value and fills `parsed` and `coverage`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery
from pipelines.sources.billing.pages import refuse_first
from pipelines.sources.gateway import lines as gateway
from pipelines.sources.reading import (
    create_parsed,
    known_currencies,
    load_csv,
    macros,
    note_ignored_fields,
    quoted,
    read_json,
    read_text,
    require_whole_rows,
    shape,
    text_lines,
    where,
)  # fmt: skip

AGAIN = "deliver the file again, whole"
AT_ONCE = 20_000  # objects
CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
WORDS = (
    "service_provider", "sub_account_id", "invoice_id", "charge_category", "charge_class", "charge_description", "charge_frequency",
    "service", "sku_id", "sku_meter", "model_as_logged", "region", "service_tier", "resource_id", "api_key_id", "unit",
)  # fmt: skip
SAID = (  # what a reader's SELECT may give, all texts; `day` as YYYY-MM-DD...; `period` as YYYY-MM: the vendor's invoice month
    "billing_account_id", "day", "period", "cost", "list_cost", "quantity", "currency", "problem", *WORDS,
)  # fmt: skip
NUMBERS = ("cost", "list_cost", "quantity")


def load_rows(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, required: Sequence[str], optional: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> None:  # fmt: skip
    """Temp table `rows` of a CSV: `record` (from 1) and the columns as texts. `numbers` are those a cut could change unseen."""
    macros(con)
    load_csv(con, delivery, "rows", required, optional)
    require_whole_rows(delivery, numbers)


def load_objects(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, objects: Iterable[tuple[int, Any]], required: Sequence[str],
    optional: Sequence[str] = (),
) -> None:  # fmt: skip
    """Temp table `rows` of JSON objects with their record numbers. Dots lead into nested objects; required names must be there."""
    macros(con)
    names = (*required, *optional)
    read = shape(names)
    con.execute(f"create or replace temp table rows(record bigint, {', '.join(f'{quoted(name)} varchar' for name in names)})")
    texts = ", ".join(f"unnest($t{n}::varchar[])" for n in range(len(names)))
    waiting = iter(objects)
    while some := list(islice(waiting, AT_ONCE)):
        columns: dict[str, list[str | None]] = {name: [] for name in names}
        for record, found in some:
            place = where(delivery, delivery.paths[0], record)
            if not isinstance(found, dict):
                raise Refused("not an object", place, AGAIN)
            for name in names:
                columns[name].append(_text(found, name, name in required, place))
        records = [record for record, _ in some]
        con.execute(
            f"insert into rows select unnest($records::bigint[]), {texts}",
            {"records": records, **{f"t{n}": columns[name] for n, name in enumerate(names)}},
        )
        note_ignored_fields(con, (found for _, found in some), read)


def _text(found: dict[str, Any], name: str, required: bool, place: str) -> str | None:
    value: Any = found
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            if required:
                raise Refused(f"{name} is missing", place, AGAIN)
            return None
        value = value[part]
    if isinstance(value, dict | list):
        raise Refused(f"{name} is not a plain value", place, AGAIN)
    return str(value).strip() or None if value is not None else None


def json_list(delivery: Delivery, inside: str | None = None) -> list[tuple[int, Any]]:
    """The numbered items of the one JSON list in the file, perhaps `inside` an object."""
    (path,) = delivery.paths
    place = where(delivery, path)
    value = read_json(read_text(delivery, path), place, AGAIN)
    if inside is not None:
        value = value.get(inside) if isinstance(value, dict) else None
    if not isinstance(value, list):
        raise Refused(f"not a list{f' under {inside}' if inside else ''}", place, "deliver the answer of the API as it came")
    return list(enumerate(value, 1))


def json_lines(delivery: Delivery) -> Iterator[tuple[int, Any]]:
    """One JSON value per line, with the number of its line; blank lines are left out."""
    (path,) = delivery.paths
    for number, line in text_lines(delivery, path):
        yield number, read_json(line, f"{where(delivery, path)} record {number}", AGAIN)


def parse_bill(
    con: duckdb.DuckDBPyConnection, delivery: Delivery, select: str, names: dict[str, str], params: dict[str, Any] | None = None,
    whole_periods: bool = False,
) -> None:  # fmt: skip
    """`parsed` and `coverage` from a SELECT over `rows`; any bad line refuses the bill.

    `names` are the file's own names of what is judged, for refusals. The bill speaks for every day from its first to its
    last, account by account; with `whole_periods` for the whole invoice months it names.
    """
    known_currencies(con)
    gateway.macros(con)
    con.execute(f"create or replace temp table said(record bigint, {', '.join(f'{name} varchar' for name in SAID)})")
    con.execute(f"insert into said by name {select}", params or {})
    con.execute(
        "create or replace temp table said as select * replace ("
        + ", ".join(f"plain({name}, 0) as {name}" for name in NUMBERS)
        + ", upper(currency) as currency, coalesce(charge_category, 'Usage') as charge_category) from said"
    )
    place = where(delivery, delivery.paths[0])
    refuse_first(con, _problems(names), {"place": place, "categories": list(CATEGORIES)})
    create_parsed(con, "billing", SELECT)
    con.execute(
        "create or replace temp table coverage as select distinct billing_account_id, billing_period, null::date as usage_date from parsed"
        if whole_periods
        else COVERED_DAYS.format(keys="billing_account_id", day="strftime(usage_date, '%Y-%m') as billing_period, usage_date")
    )


def _problems(names: dict[str, str]) -> str:
    """Place and problem of the first line that cannot be billed; names of columns are identifiers of ours or of the policy."""
    called = {name: names.get(name, name).replace("'", "''") for name in SAID}
    tests = [f"when {name} is null then '{called[name]} is empty'" for name in ("billing_account_id", "cost", "currency")]
    tests += [
        f"when day is null and period is null then '{called['day'] if 'day' in names else called['period']} is empty'",
        f"when day is not null and written_day(day) is null then '{called['day']} is not a day: ' || shown(day)",
        f"""when period is not null and (not regexp_full_match(period, '2[01]\\d\\d-(0[1-9]|1[0-2])'))
            then '{called['period']} is not a month: ' || shown(period)""",
        f"when currency not in (from currencies) then '{called['currency']}: unknown currency: ' || left(currency, 10)",
        f"""when charge_category not in (select unnest($categories))
            then '{called['charge_category']}: unknown category: ' || shown(charge_category)""",
    ]
    tests += [
        f"""when {name} is not null and (not is_number({name}) or rounded({name}) is null)
            then '{called[name]} is not a number: ' || shown({name})"""
        for name in NUMBERS
    ]
    return (
        f"select $place || ' record ' || record as place, case when problem is not null then problem {' '.join(tests)} end as found"
        " from said where found is not null order by record limit 1"
    )


SELECT = """
with dated as (
    select
        *,
        coalesce(written_day(day), (period || '-01')::date) as usage_date,
        coalesce((period || '-01')::date, date_trunc('month', written_day(day))::date) as month
    from said
)
select
    service_provider,
    billing_account_id,
    sub_account_id,
    invoice_id,
    charge_category,
    charge_class,
    charge_description,
    -- A sum of a month without days is spread over its days, as a fee is.
    coalesce(charge_frequency, case when day is null and charge_category in ('Usage', 'Purchase') then 'Recurring'
        when charge_category = 'Usage' then 'Usage-Based' end) as charge_frequency,
    service,
    sku_id,
    sku_meter,
    model_as_logged,
    region,
    service_tier,
    resource_id,
    safe_key(api_key_id) as api_key_id,
    usage_date,
    usage_date::timestamp as charge_period_start,
    case when day is null then month + interval 1 month else usage_date + interval 1 day end::timestamp as charge_period_end,
    strftime(month, '%Y-%m') as billing_period,
    month as billing_period_start,
    (month + interval 1 month)::date as billing_period_end,
    rounded(quantity) as consumed_quantity,
    unit as consumed_unit,
    rounded(list_cost) as list_cost,
    rounded(cost) as effective_cost,
    rounded(cost) as billed_cost,
    currency as billing_currency,
    left_out(cost) as discarded_cost,
    record as source_row
from dated
order by record
"""

COVERED_DAYS = """
create or replace temp table coverage as
with spans as (
    select {keys}, min(usage_date) as first_day, max(usage_date) as last_day
    from parsed
    group by all
),
days as (
    select {keys}, unnest(generate_series(first_day::timestamp, last_day::timestamp, interval 1 day))::date as usage_date
    from spans
)
select {keys}, {day}
from days
"""
