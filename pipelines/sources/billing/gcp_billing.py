"""Google Cloud's billing export (standard or detailed) out of BigQuery: JSONL with nested records, or CSV with dotted names.

A file is a snapshot: every row of each invoice month that it names. The invoice month is the vendor's; its days end at
midnight in US Pacific time, so the usage day is that day of the start of use. Cost is cost plus all credits: what
discounts the use (commitments, sustained use, free tier ...) stays with it, what pays a bill (promotions, and kinds we
do not know) is a Credit line of its own with its name, numbered after the last row. Labels, tags, project names and
e-mail addresses are not read.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.content import open_content
from pipelines.errors import Refused
from pipelines.sources import Delivery, Format
from pipelines.sources.billing import meanings
from pipelines.sources.billing.meanings import Meaning
from pipelines.sources.billing.tables import are_empty, are_no_numbers, cover_periods, refuse_first_row
from pipelines.sources.reading import (
    are_missing,
    create_parsed,
    known_currencies,
    macros,
    note_ignored,
    quoted,
    shape,
    text_lines,
    unread,
    where,
)

REQUIRED = (
    "billing_account_id", "invoice.month", "cost", "currency", "usage_start_time", "usage_end_time", "service.description",
    "sku.description", "cost_type",
)  # fmt: skip
OPTIONAL = (
    "sku.id", "project.id", "location.region", "location.location", "resource.name", "usage.amount", "usage.unit",
    "cost_at_list", "seller_name", "adjustment_info.description",
)  # fmt: skip
READ = shape((*REQUIRED, *OPTIONAL, "credits"))
NUMBERS = ("cost", "net", "usage.amount", "cost_at_list")
EXACT = Context(prec=200)
CATEGORIES = {"regular": "Usage", "tax": "Tax", "adjustment": "Adjustment", "rounding_error": "Adjustment"}
DISCOUNTS = (  # credit types that change what the use costs
    "COMMITTED_USAGE_DISCOUNT", "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE", "SUSTAINED_USAGE_DISCOUNT", "DISCOUNT",
    "RESELLER_MARGIN", "SUBSCRIPTION_BENEFIT", "FEE_UTILIZATION_OFFSET", "FREE_TIER",
)  # fmt: skip
MAX_CREDITS = 1 << 16  # characters of one row's credits

SKU = re.compile(
    r"^(?P<model>Gemini [\d.]+ (?:Flash|Pro|Ultra|Nano)(?: Lite)?|Gemini Embedding(?: \d+)?)(?: (?:GA|Preview))?(?P<rest> .*)$"
)
CLASSES = (  # what is left of a SKU's text without its model, tier and context; the first that holds counts
    (re.compile(r"(Thinking )?Text Output( - Predictions)?"), "output"),  # vendors bill reasoning as output
    (re.compile(r"Text Input( - Predictions)?"), "input_uncached"),
    (re.compile(r"(Text )?Input( Text)? Caching|Text Input Cach(ed|e Read)"), "cache_read"),
    (re.compile(r"Text Input Cache Write 1h"), "cache_write_1h"),
    (re.compile(r"Text Input Cache Write"), "cache_write_5m"),
    (re.compile(r"Audio Input( - Predictions)?"), "audio_input"),
    (re.compile(r"Audio Output( - Predictions)?"), "audio_output"),
)
TIER = re.compile(r"\b(Batch|Flex|Priority)\b", re.IGNORECASE)


AT_ONCE = 20_000  # rows
Texts = dict[str, list[str | None]]  # column -> the text of each row


def meaning(sku: str) -> Meaning | None:
    """Of `Gemini 2.5 Pro GA Text Input (Long) - Predictions`; None where no model is known in it."""
    found = SKU.match(sku)
    if not found:
        return None
    tier = TIER.search(found["rest"])
    rest = TIER.sub("", found["rest"].replace("(Long)", ""))
    rest = re.sub(r"\s+", " ", rest).strip().removesuffix(" -")
    meter = next((meter for pattern, meter in CLASSES if pattern.fullmatch(rest)), None)
    return Meaning(found["model"].lower().replace(" ", "-"), meter, tier[0].lower() if tier else None)


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, and `coverage` of every account and invoice month, whole; any bad row refuses the file."""
    macros(con)
    known_currencies(con)
    columns: Texts = {name: [] for name in ("record", *REQUIRED, *OPTIONAL, "net")}
    payments: Texts = {name: [] for name in ("record", "type", "name", "amount")}
    _tables(con, gcp_texts=columns, gcp_credits=payments)
    ignored: Counter[tuple[str, ...]] = Counter()
    for number, (row, others) in enumerate(_rows(delivery), 1):
        ignored[others] += 1
        credits = list(_credits(delivery, number, row["credits"]))
        discounts = [amount for type_, _, amount in credits if type_ in DISCOUNTS]
        for name, values in columns.items():
            values.append(row.get(name))
        columns["record"][-1] = str(number)
        columns["net"][-1] = _sum(row["cost"], discounts)
        for credit in credits:
            for name, value in zip(payments, (str(number), *credit), strict=True):
                payments[name].append(value)
        if number % AT_ONCE == 0:
            _add(con, gcp_texts=columns, gcp_credits=payments)
    _add(con, gcp_texts=columns, gcp_credits=payments)
    note_ignored(con, ignored)
    _load(con)
    account = getattr(source, "billing_account_id", None)
    params = {"types": list(CATEGORIES), "account": account}
    refuse_first_row(con, delivery, _problems(), params)
    _meanings(con)
    create_parsed(
        con,
        "billing",
        SELECT,
        {"types": list(CATEGORIES), "categories": list(CATEGORIES.values()), "discounts": list(DISCOUNTS)},
    )
    cover_periods(con)


# --- rows, as texts ------------------------------------------------------------------------------------------------


def _rows(delivery: Delivery) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Dotted names -> texts with the digits of the file, `credits` as it stands there, parsed where it is JSON; and the names not read."""
    (path,) = delivery.paths
    if ".csv" in path.name:
        yield from _csv_rows(delivery)
        return
    for number, line in text_lines(delivery, path):
        try:
            record = json.loads(line, parse_float=str, parse_int=str, parse_constant=_no_constant)
            row = {**{name: _text(_at(record, name)) for name in (*REQUIRED, *OPTIONAL)}, "credits": record["credits"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            what, fix = "not a row of the export", "export whole rows, with their credits, as newline-delimited JSON"
            raise Refused(what, where(delivery, path, number), fix) from None
        yield row, tuple(sorted(unread(record, READ)))


def _csv_rows(delivery: Delivery) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    (path,) = delivery.paths
    try:
        with open_content(path) as content, io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in (*REQUIRED, "credits") if name not in header]
            if missing or len(set(header)) < len(header):
                what = are_missing(missing, header) if missing else "a column name appears twice"
                raise Refused(what, where(delivery, path), "deliver the file with its full header")
            others = tuple(name for name in header if name not in (*REQUIRED, *OPTIONAL, "credits"))
            for number, values in enumerate((values for values in reader if values), 1):
                if len(values) != len(header):
                    what = f"{len(values)} values under {len(header)} columns"
                    raise Refused(what, where(delivery, path, number), "deliver the file again, whole")
                yield {name: value.strip() or None for name, value in zip(header, values, strict=True)}, others
    except (csv.Error, UnicodeDecodeError):
        raise Refused("not CSV in UTF-8", where(delivery, path), "deliver the file again, whole") from None


def _at(record: dict[str, Any], name: str) -> Any:
    """`invoice.month` in nested records."""
    value: Any = record
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    """ValueError for half a character, which JSON can write and nothing can store."""
    if not isinstance(value, str):
        return None
    value.encode()
    return value.strip() or None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _credits(delivery: Delivery, number: int, said: Any) -> Iterator[tuple[str, str, str]]:
    """(type, name, amount as text) of each credit: a JSON array, or the text of one, or of a Python list."""
    place = where(delivery, delivery.paths[0], number)
    try:
        listed = _literal(said) if isinstance(said, str) else said
        for credit in listed or []:
            amount = credit["amount"]
            if isinstance(amount, str) and Decimal(amount).is_finite():
                yield _text(credit.get("type")) or "UNKNOWN", _text(credit.get("name")) or "", amount
                continue
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, SyntaxError, RecursionError, MemoryError):
        raise Refused("credits that cannot be read", place, "export the rows with their credits as they are") from None


def _literal(text: str) -> Any:
    """A JSON array, or the same as a Python list; numbers as texts with their digits."""
    if len(text) > MAX_CREDITS:
        raise ValueError("too long")
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=_no_constant)
    except ValueError:
        return _value(ast.parse(text, mode="eval").body, text)


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.List):
        return [_value(item, text) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {_value(key, text): _value(value, text) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str)):
        return node.value
    return (ast.get_source_segment(text, node) or "").replace(" ", "")  # a number, perhaps with its sign


def _sum(cost: str | None, discounts: list[str]) -> str | None:
    """Exact, as text; None where one of them is no number, or beyond reason."""
    try:
        total = EXACT.create_decimal(cost or "")
        for amount in discounts:
            total = EXACT.add(total, EXACT.create_decimal(amount))
        return str(total)
    except ArithmeticError:
        return None


def _tables(con: duckdb.DuckDBPyConnection, **tables: Texts) -> None:
    """Empty temp tables of texts."""
    for name, columns in tables.items():
        con.execute(f"create or replace temp table {name}({', '.join(f'{quoted(column)} varchar' for column in columns)})")
        con.execute(f"alter table {name} alter record type bigint")


def _add(con: duckdb.DuckDBPyConnection, **tables: Texts) -> None:
    """Moves texts into their tables."""
    for name, columns in tables.items():
        arrow = pa.table({column: pa.array(texts, pa.string()) for column, texts in columns.items()})
        con.register("gcp_arrow", arrow)
        con.execute(f"insert into {name} select * replace (record::bigint as record) from gcp_arrow")
        con.unregister("gcp_arrow")
        for texts in columns.values():
            texts.clear()


# --- the same in SQL -----------------------------------------------------------------------------------------------


def _load(con: duckdb.DuckDBPyConnection) -> None:
    numbers = ", ".join(f'plain("{name}", 0) as "{name}"' for name in NUMBERS)
    con.execute("create or replace temp table gcp_credit_lines as select * replace (plain(amount, 0) as amount) from gcp_credits")
    con.execute(
        f"""
        create or replace temp table gcp_lines as
        select
            * replace ({numbers}),
            0 as file,
            record as line,
            moment("usage_start_time") as started,
            moment("usage_end_time") as ended,
            timezone('America/Los_Angeles', timezone('UTC', moment("usage_start_time")))::date as usage_day,
            try_strptime("invoice.month" || '01', '%Y%m%d')::date as invoice_start
        from gcp_texts
        """
    )


def _problems() -> str:
    """SQL for the first bad row."""
    filled = ("billing_account_id", "invoice.month", "cost", "currency", "usage_start_time", "usage_end_time", "cost_type")
    tests = [*are_empty(filled), *are_no_numbers(NUMBERS)]
    tests += [
        "when started is null then 'usage_start_time is not a time: ' || shown(usage_start_time)",
        "when ended is null then 'usage_end_time is not a time: ' || shown(usage_end_time)",
        "when ended < started then 'the usage ends before it starts'",
        "when invoice_start is null then 'invoice.month is not a month: ' || left(\"invoice.month\", 30)",
        "when upper(currency) not in (from currencies) then 'unknown currency: ' || left(currency, 10)",
        "when cost_type not in (select unnest($types)) then 'unknown cost_type: ' || shown(cost_type)",
        "when billing_account_id <> $account then 'another billing account than sources.yaml names: ' || left(billing_account_id, 40)",
        "when record in (select record from gcp_credit_lines where not is_number(amount) or rounded(amount) is null)"
        " then 'a credit whose amount is not a number'",
        "when net is null then 'cost and credits are no numbers that can be added'",
    ]
    return (
        f"select file, line, case {' '.join(tests)} end as problem from gcp_lines where problem is not null order by record limit 1"
    )


def _meanings(con: duckdb.DuckDBPyConnection) -> None:
    """`meanings` of the SKUs that name a model."""
    skus = con.execute('select distinct "sku.description" from gcp_lines order by 1').fetchall()
    meanings.register(con, ["sku"], {(sku,): meaning(sku) for (sku,) in skus if sku})


SELECT = """
with typed as (
    select
        t.*,
        m.told_model as model,
        m.told_tier as tier,
        case when lower("usage.unit") in ('count', 'counts', 'token', 'tokens') then m.told_meter end as token_meter,
        map($types::varchar[], $categories::varchar[])[cost_type] as category
    from gcp_lines t
    left join meanings m on m.sku = t."sku.description"
),
uses as (
    select
        t.*,
        category as charge_category,
        coalesce("adjustment_info.description", "sku.description") as charge_description,
        case when category = 'Usage' then rounded("usage.amount") end as consumed_quantity,
        if(category = 'Usage', rounded(cost_at_list), rounded(net)) as list_cost,
        rounded(cost) as contracted_cost,
        net as amount,
        record as source_row
    from typed t
),
payments as (
    select
        t.*,
        'Credit' as charge_category,
        concat(c.name, ' (', c.type, ') of row ', t.record) as charge_description,
        null::decimal(38, 12) as consumed_quantity,
        rounded(c.amount) as list_cost,
        rounded(c.amount) as contracted_cost,
        c.amount as amount,
        (select count(*) from gcp_lines) + row_number() over (order by t.record, c.rowid) as source_row
    from typed t
    join gcp_credit_lines c on c.record = t.record and c.type not in (select unnest($discounts))
),
lines as (
    from uses
    union all by name
    from payments
)
select
    coalesce(seller_name, 'Google Cloud') as service_provider,
    billing_account_id,
    "project.id" as sub_account_id,
    charge_category,
    case when cost_type = 'adjustment' and date_trunc('month', usage_day) < invoice_start then 'Correction' end as charge_class,
    charge_description,
    if(charge_category = 'Usage', 'Usage-Based', 'One-Time') as charge_frequency,
    "service.description" as service,
    "sku.id" as sku_id,
    coalesce(token_meter, "sku.description") as sku_meter,
    model as model_as_logged,
    coalesce("location.region", "location.location") as region,
    tier as service_tier,
    "resource.name" as resource_id,
    usage_day as usage_date,
    started as charge_period_start,
    ended as charge_period_end,
    strftime(invoice_start, '%Y-%m') as billing_period,
    invoice_start as billing_period_start,
    (invoice_start + interval 1 month)::date as billing_period_end,
    consumed_quantity,
    if(token_meter is null, "usage.unit", 'Tokens') as consumed_unit,
    list_cost,
    contracted_cost,
    rounded(amount) as effective_cost,
    rounded(amount) as billed_cost,
    upper(currency) as billing_currency,
    left_out(amount) as discarded_cost,
    source_row
from lines
order by source_row
"""

FORMAT = Format("gcp_billing", "billing", (".jsonl", ".jsonl.gz", ".csv", ".csv.gz"), read)
