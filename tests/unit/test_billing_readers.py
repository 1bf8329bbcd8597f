"""Bills: what the sample's vendors billed is read back exactly, and a malformed bill is refused whole, by name."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import Refused
from pipelines.sample import Truth
from pipelines.sample.arrivals import BillDelivery, bill_deliveries
from pipelines.sample.company import BILLED_AS, BILLING_ACCOUNTS
from pipelines.sample.truth import TOKEN_METERS
from pipelines.sample.writers import anthropic_costs as anthropic_writer
from pipelines.sample.writers import focus as focus_writer
from pipelines.sample.writers import openai_costs as openai_writer
from pipelines.sources import BILL_LINE, Delivery, Format
from pipelines.sources.billing import anthropic_costs, focus, openai_costs
from pipelines.sources.reading import macros

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
DELIVERIES = bill_deliveries(Truth.make(scale=0.02))
EXACT = Context(prec=200)
Found = dict[str, Any]


def read(
    format_: Format, paths: Iterable[Path], account: str | None = "acct"
) -> tuple[list[Found], set[tuple[Any, ...]]]:
    """Rows of `parsed` and of `coverage`."""
    delivery = Delivery("id", "billing", "vendor", tuple(paths), 0, 0)
    with duckdb.connect() as con:
        format_.read(con, delivery, SimpleNamespace(billing_account_id=account))
        found = con.execute("select * from parsed order by source_row")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        types = dict(con.execute("select column_name, column_type from (describe parsed)").fetchall())
        assert types == {**BILL_LINE, "source_row": "BIGINT", "reject": "VARCHAR"}
        assert [row["source_row"] for row in rows] == list(range(1, len(rows) + 1))
        assert all(row["reject"] is None for row in rows)
        return rows, set(con.execute("from coverage").fetchall())


def refusal(format_: Format, *paths: Path, account: str | None = "acct") -> str:
    with pytest.raises(Refused) as error:
        read(format_, paths, account)
    assert "\n" not in str(error.value)
    return str(error.value)


def of(provider: str) -> list[BillDelivery]:
    return [delivery for delivery in DELIVERIES if delivery.provider == provider]


def days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=n) for n in range((end - start).days)]


# --- what the sample wrote is read back --------------------------------------------------------------------------


def told(delivery: BillDelivery, quantities: bool = True) -> Counter[tuple[Any, ...]]:
    """What the truth says about each line, as the reader should say it."""
    return Counter(
        (
            line.billing_account_id, line.sub_account_id, line.day, line.month, line.meter,
            BILLED_AS.get(line.model or "", line.model), line.billed_cost, line.currency,
            (line.quantity, "Tokens" if line.meter in TOKEN_METERS else line.unit) if quantities else None,
        )
        for line in delivery.lines
    )  # fmt: skip


def heard(rows: list[Found], quantities: bool = True) -> Counter[tuple[Any, ...]]:
    return Counter(
        (
            row["billing_account_id"], row["sub_account_id"], row["usage_date"], row["billing_period"], row["sku_meter"],
            row["model_as_logged"], Decimal(row["billed_cost"]) + row["discarded_cost"], row["billing_currency"],
            (row["consumed_quantity"], row["consumed_unit"]) if quantities else None,
        )
        for row in rows
    )  # fmt: skip


@pytest.mark.parametrize("provider", ["aws", "google", "pinecone"])
@pytest.mark.parametrize("version", ["1.0", "1.2", "1.4"])
@pytest.mark.parametrize("encoding", ["csv", "csv.gz", "parquet"])
def test_focus_gives_every_line_back(tmp_path: Path, provider: str, version: Any, encoding: str) -> None:
    delivery = of(provider)[-1]
    data = focus_writer.write(delivery.lines, version, "parquet" if encoding == "parquet" else "csv", "INV-1")
    path = tmp_path / f"bill.{encoding}"
    path.write_bytes(gzip.compress(data) if encoding == "csv.gz" else data)
    rows, coverage = read(focus.FORMAT, [path], None)
    assert heard(rows) == told(delivery)
    assert coverage == {(BILLING_ACCOUNTS[provider], f"{delivery.start:%Y-%m}", None)}
    for row, line in zip(rows, delivery.lines, strict=True):
        assert (row["charge_period_start"], row["charge_period_end"]) == (line.start, line.end)
        assert (row["charge_category"], row["charge_frequency"]) == (line.category, line.frequency)
        assert (row["service"], row["resource_id"], row["region"]) == (line.service, line.resource_id, line.region)
        assert row["service_provider"] == focus_writer.SELLERS[provider]
        assert row["effective_cost"] == row["billed_cost"]
        assert abs(row["list_cost"] - line.list_cost) < Decimal("1e-12")
        assert (row["billing_period_start"], row["billing_period_end"]) == (delivery.start, delivery.end)
        assert row["invoice_id"] == (None if version == "1.0" else "INV-1")


def test_openai_pages_are_read_in_the_order_of_their_days(tmp_path: Path) -> None:
    for delivery in of("openai"):
        pages = openai_writer.write_pages(delivery.lines, delivery.start, delivery.end, 3)
        paths = [tmp_path / f"{name}.json" for name in ("b", "c", "a")]
        for path, page in zip(paths, pages, strict=False):
            path.write_bytes(page)
        rows, coverage = read(openai_costs.FORMAT, reversed(paths[: len(pages)]), "org-larkfield")
        free = [row for row in rows if row["model_as_logged"] == "gpt-5-nano-2025-08-07"]
        assert free and all(row["billed_cost"] == 0 and row["sku_meter"] == "cache_read" for row in free)
        assert heard([row for row in rows if row not in free]) == told(delivery)
        assert coverage == {("org-larkfield", f"{day:%Y-%m}", day) for day in days(delivery.start, delivery.end)}


def test_anthropic_cents_become_dollars(tmp_path: Path) -> None:
    for delivery in of("anthropic"):
        path = tmp_path / "cost_report.json.gz"
        path.write_bytes(gzip.compress(anthropic_writer.write_page(delivery.lines, delivery.start, delivery.end)))
        rows, coverage = read(anthropic_costs.FORMAT, [path], "lark-anthropic")
        assert heard(rows, quantities=False) == told(delivery, quantities=False)
        assert {row["service_tier"] for row in rows} == {"standard"}
        assert len(coverage) == (delivery.end - delivery.start).days


# --- exactness ---------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.decimals(-(10**7), 10**7, allow_nan=False, places=30),
    st.decimals(-1, 1, allow_nan=False, places=13),
    st.integers(-(10**6), 10**6).map(lambda n: Decimal(2 * n + 1).scaleb(-13) * 5),  # halves of the last digit
    st.decimals(-(10**19), 10**19, allow_nan=False, places=18),
)
WRITTEN = st.builds(
    lambda number, scientific: f"{number:E}" if scientific else f"{number:f}", NUMBERS, st.booleans()
) | st.sampled_from(["0E-6176", "0.003627500000000000000000000000000000", "1e-7", "-.5", "1E+3"])


def rounded(text: str, power: int = 0) -> tuple[Decimal, Decimal]:
    """Half even at twelve decimals, and what that left out."""
    exact = EXACT.scaleb(Decimal(text), power) if Decimal(text) else Decimal(0)
    kept = exact.quantize(Decimal("1e-12"), ROUND_HALF_EVEN, EXACT)
    return kept, EXACT.subtract(exact, kept).quantize(Decimal("1e-30"), ROUND_HALF_UP, EXACT)


def amounts(rows: list[Found]) -> list[tuple[Decimal, Decimal]]:
    return [(row["billed_cost"], row["discarded_cost"]) for row in rows]


@settings(max_examples=25, deadline=None)
@given(st.lists(WRITTEN, min_size=20, max_size=60), st.sampled_from([0, -2, 3]))
def test_numbers_are_exact_from_text(texts: list[str], power: int) -> None:
    texts = [text for text in texts if abs(Decimal(text)) < 10**16]
    with duckdb.connect() as con:
        macros(con)
        found = con.execute(
            "select good, rounded(t), left_out(t) from"
            " (select is_number(t) as good, plain(t, $power) as t from (select unnest($texts) as t))",
            {"texts": texts, "power": power},
        ).fetchall()
    assert [row[1:] for row in found] == [
        wanted if abs(wanted[0]) < 10**8 else (wanted[0], wanted[1].quantize(Decimal("1e-18"), ROUND_HALF_UP))
        for wanted in (rounded(text, power) for text in texts)
    ]
    assert all(row[0] for row in found)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(WRITTEN, st.booleans()), min_size=1, max_size=30))
def test_money_keeps_its_digits_through_json_and_csv(tmp_path_factory: pytest.TempPathFactory, amounts_: Any) -> None:
    written = [(text, bare and not text.startswith("-.")) for text, bare in amounts_ if abs(Decimal(text)) < 10**8]
    folder = tmp_path_factory.mktemp("exact")
    values = [text if bare else json.dumps(text) for text, bare in written]
    path = folder / "page.json"
    path.write_text(
        json.dumps(page([bucket(1, [{"amount": {"value": f"@{n}", "currency": "usd"}} for n in range(len(values))])]))
    )
    text = path.read_text()
    for n, value in enumerate(values):
        text = text.replace(f'"@{n}"', value)
    path.write_text(text)
    wanted = [rounded(text) for text, _ in written]
    assert amounts(read(openai_costs.FORMAT, [path])[0]) == wanted
    bill = folder / "focus.csv"
    bill.write_text(focus_csv(*({"BilledCost": text} for text, _ in written)))
    assert amounts(read(focus.FORMAT, [bill])[0]) == wanted


# --- refusals ----------------------------------------------------------------------------------------------------

LINE = {
    "BilledCost": "1.25", "EffectiveCost": "1", "BillingAccountId": "acct", "BillingCurrency": "EUR",
    "BillingPeriodStart": "2026-09-01T00:00:00Z", "BillingPeriodEnd": "2026-10-01T00:00:00Z", "ChargeCategory": "Usage",
    "ChargePeriodStart": "2026-09-30T00:00:00Z", "ChargePeriodEnd": "2026-10-01T00:00:00Z", "ServiceName": "Models",
    "ProviderName": "Vendor", "ConsumedQuantity": "2.5", "ConsumedUnit": "1M tokens",
    "SkuPriceDetails": '{"TokenDirection": "Input", "TokenCacheAction": "Read", "ModelId": "m-1"}',
}  # fmt: skip


def focus_csv(*changes: dict[str, str]) -> str:
    rows = (
        [LINE, *({**LINE, **change} for change in changes)]
        if not changes
        else [{**LINE, **change} for change in changes]
    )
    quoted = [",".join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in rows]
    return "\n".join([",".join(LINE), *quoted]) + "\n"


@pytest.mark.parametrize(
    ("unit", "quantity", "said"),
    [
        ("Tokens", "17", ("Tokens", 17)),
        ("1000 Tokens", "0.0105", ("Tokens", Decimal("10.5"))),
        ("1K tokens", "2", ("Tokens", 2000)),
        ("1M tokens", "2.5", ("Tokens", 2_500_000)),
        ("1,000,000 Tokens", "1e-6", ("Tokens", 1)),
        ("Million tokens", "3", ("Tokens", 3_000_000)),
        ("Token-Hours", "3", ("Token-Hours", 3)),
        ("", "3", (None, 3)),
    ],
)
def test_focus_counts_tokens_one_by_one(tmp_path: Path, unit: str, quantity: str, said: tuple[Any, ...]) -> None:
    path = tmp_path / "bill.csv"
    path.write_text(focus_csv({"ConsumedUnit": unit, "ConsumedQuantity": quantity}))
    row = read(focus.FORMAT, [path])[0][0]
    assert (row["consumed_unit"], row["consumed_quantity"]) == said
    assert (row["sku_meter"], row["model_as_logged"]) == ("cache_read", "m-1")
    assert (row["billing_currency"], row["list_cost"], row["usage_date"]) == ("EUR", None, date(2026, 9, 30))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"BilledCost": "1,234.50"}, "BilledCost is not a number: 1,234.50"),
        ({"BilledCost": "NaN"}, "BilledCost is not a number"),
        ({"EffectiveCost": "NULL"}, "EffectiveCost is empty"),
        ({"BillingCurrency": "EURO"}, "unknown currency: EURO"),
        ({"ChargePeriodStart": "30/09/2026"}, "ChargePeriodStart is not a time"),
        ({"ChargePeriodEnd": "2026-09-01T00:00:00Z"}, "ChargePeriodEnd is before ChargePeriodStart"),
        ({"ChargeCategory": "Refund"}, "unknown ChargeCategory: Refund"),
        ({"ConsumedQuantity": "many"}, "ConsumedQuantity is not a number"),
        ({"BillingAccountId": "other"}, "another billing account"),
    ],
)
def test_focus_is_refused_whole(tmp_path: Path, change: dict[str, str], words: str) -> None:
    path = tmp_path / "bill.csv"
    path.write_text(focus_csv({}, change, {}))
    text = refusal(focus.FORMAT, path)
    assert words in text and text.startswith("billing/vendor/bill.csv record 2: ")


def test_a_time_with_an_offset_is_that_moment_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    path.write_text(focus_csv({"ChargePeriodStart": "2026-10-02T00:00:00+02:00", "ChargePeriodEnd": "2026-10-03 00:00:00+02:00"}))
    ((row,), _) = read(focus.FORMAT, [path])
    assert (row["usage_date"], row["charge_period_start"], row["charge_period_end"]) == (
        date(2026, 10, 2), datetime(2026, 10, 1, 22), datetime(2026, 10, 2, 22),
    )  # fmt: skip


def test_focus_names_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bill.csv"
    good = focus_csv()
    for column, said in (
        ("ServiceName", "ServiceName"),
        ("ProviderName", "ServiceProviderName"),
        ("BilledCost", "BilledCost"),
    ):
        path.write_text(good.replace(column, "Other", 1))
        assert f"column {said}" in refusal(focus.FORMAT, path)
    for broken in (good + "1,2,3\n", good + good.splitlines()[1] + ",9\n", good.replace('"EUR"', '"EU"R"')):
        path.write_text(broken)
        assert "bill.csv" in refusal(focus.FORMAT, path)
    path.write_bytes(good.encode().replace(b"Models", b"Mod\xffls"))
    assert "bill.csv" in refusal(focus.FORMAT, path)
    path = tmp_path / "bill.parquet"
    path.write_text(good)
    assert "not a readable Parquet file" in refusal(focus.FORMAT, path)


def test_focus_parquet_of_floats_and_zones(tmp_path: Path) -> None:
    path = tmp_path / "bill.parquet"
    with duckdb.connect() as con:
        con.execute("set timezone = 'America/Los_Angeles'")
        con.execute(
            f"""copy (select 0.1::double as "BilledCost", 1e-7::double as "EffectiveCost", 'a' as "BillingAccountId",
            'usd' as "BillingCurrency", date '2026-09-01' as "BillingPeriodStart", date '2026-10-01' as "BillingPeriodEnd",
            'Usage' as "ChargeCategory", timestamptz '2026-09-30 00:00:00+00' as "ChargePeriodStart",
            timestamptz '2026-10-01 00:00:00+00' as "ChargePeriodEnd", 'S' as "ServiceName", 'V' as "ServiceProviderName",
            map {{'x_ModelId': 'm'}} as "SkuPriceDetails") to '{path}' (format parquet)"""
        )
    (row,), _ = read(focus.FORMAT, [path], None)
    assert (row["billed_cost"], row["effective_cost"], row["discarded_cost"]) == (Decimal("0.1"), Decimal("1e-7"), 0)
    assert (row["usage_date"], row["billing_period"], row["model_as_logged"]) == (date(2026, 9, 30), "2026-09", "m")


def bucket(day: int, results: list[Found]) -> Found:
    start = int(datetime(2026, 9, day, tzinfo=UTC).timestamp())
    return {"start_time": start, "end_time": start + 86_400, "results": results}


def page(buckets: list[Found], has_more: bool = False) -> Found:
    return {"object": "page", "data": buckets, "has_more": has_more}


def cost(**changes: Any) -> Found:
    return {"amount": {"value": "1", "currency": "usd"}, "line_item": "gpt-5, input_tokens", **changes}


def test_openai_line_items(tmp_path: Path) -> None:
    items = {
        "gpt-5-2025-08-07, input_tokens": ("gpt-5-2025-08-07", "input_uncached"),
        "ft:gpt-5, ours, cached input": ("ft:gpt-5, ours", "cache_read"),
        "gpt-5, image_tokens": ("gpt-5", "image_tokens"),
        "web search tool calls": (None, "web search tool calls"),
        "assistants api, file search": (None, "assistants api, file search"),
        None: (None, None),
    }
    lines = [
        cost(line_item=item, quantity=1.5, quantity_unit="1000_tokens" if item and "image" in item else "calls")
        for item in items
    ]
    path = tmp_path / "page.json"
    path.write_text(json.dumps(page([bucket(1, lines), bucket(2, [])])))
    rows, coverage = read(openai_costs.FORMAT, [path])
    assert [(row["model_as_logged"], row["sku_meter"]) for row in rows] == list(items.values())
    assert [(row["consumed_quantity"], row["consumed_unit"]) for row in rows][1:3] == [
        (Decimal("1.5"), "calls"),
        (1500, "Tokens"),
    ]
    assert coverage == {("acct", "2026-09", date(2026, 9, 1)), ("acct", "2026-09", date(2026, 9, 2))}


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (
            [page([bucket(1, [cost(), cost(amount={"value": "$5", "currency": "usd"})])])],
            "page-0.json record 2: amount.value is not",
        ),
        ([page([bucket(1, [cost(amount={"value": "5", "currency": "usdx"})])])], "record 1: unknown currency: usdx"),
        ([page([bucket(1, [cost(amount=None)])])], "amount.value is missing"),
        ([page([bucket(1, [cost(quantity="few")])])], "quantity is not a number"),
        ([page([bucket(1, [])], has_more=True)], "more follow, and they are missing"),
        ([page([bucket(1, [])]), page([bucket(2, [])])], "another page follows"),
        ([page([bucket(1, [])], has_more=True), page([bucket(3, [])])], "the day after 2026-09-01 is 2026-09-03"),
        ([page([bucket(1, [])], has_more=True), page([bucket(1, [])])], "the day after 2026-09-01 is 2026-09-01"),
        ([page([{**bucket(1, []), "end_time": 2**33}])], "bucket 1: a bucket that is not one UTC day"),
        ([page([{"results": []}])], "without its times"),
        ([{"error": {"message": "no"}}], "not a page of days"),
        (['{"data": ['], "page-0.json line 1: not JSON"),
        (['{"data": [{"x": NaN}]}'], "not JSON"),
    ],
)
def test_openai_is_refused_whole(tmp_path: Path, pages: list[Any], words: str) -> None:
    paths = [tmp_path / f"page-{n}.json" for n in range(len(pages))]
    for path, content in zip(paths, pages, strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert words in refusal(openai_costs.FORMAT, *paths)


def test_anthropic_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "cost_report.json"
    times = {"starting_at": "2026-09-01T00:00:00Z", "ending_at": "2026-09-02T00:00:00Z"}
    for change, words in (
        ({"amount": "12.3.4"}, "record 1: amount is not an amount: 12.3.4"),
        ({"amount": None}, "amount is missing"),
        ({"currency": "ZZZ"}, "unknown currency: ZZZ"),
        ({"currency": "JPY"}, "cents of USD"),
    ):
        result = {"amount": "1", "currency": "USD", **change}
        path.write_text(json.dumps({"data": [{**times, "results": [result]}], "has_more": False}))
        assert words in refusal(anthropic_costs.FORMAT, path)


# --- the vendors' own samples ------------------------------------------------------------------------------------


def sample(name: str) -> Path:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"no sample {name} beside the checkout")
    return path


def test_published_samples(tmp_path: Path) -> None:
    rows, coverage = read(focus.FORMAT, [sample("focus/focus_1_0_sample_1k.csv")], None)
    assert len(rows) == 1000 and len(coverage) > 1 and any(row["billed_cost"] < 0 for row in rows)
    spec = sample("focus/spec_1_5_draft_ai/drawdown_via_prepayment_ai_model_api.csv")
    assert [row["sku_meter"] for row in read(focus.FORMAT, [spec], None)[0][1:]] == ["input_uncached", "output"]
    incomplete = sample("billing/openai/costs_string_amounts.json")
    assert "more follow" in refusal(openai_costs.FORMAT, incomplete)
    path = tmp_path / "page.json"
    path.write_text(incomplete.read_text().replace('"has_more":true', '"has_more":false'))
    assert [row["billed_cost"] for row in read(openai_costs.FORMAT, [path])[0]] == [0, Decimal("0.0036275")]
    report = sample("billing/anthropic/cost_report.json").read_text().replace('"has_more":true', '"has_more":false')
    path.write_text(report)
    found = [(row["sku_meter"], row["billed_cost"]) for row in read(anthropic_costs.FORMAT, [path])[0]]
    assert found == [("input_uncached", Decimal("1.2378912")), ("web_search", Decimal("0.5"))]
