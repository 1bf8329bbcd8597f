"""List prices are those of their source to the last digit, one row holds for any request, and names find their model."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as hour
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import policy, prices, snapshots
from pipelines.errors import Refused
from pipelines.home import asset
from pipelines.sample import company
from pipelines.warehouse import memory

FOLDER = asset("data", "list_prices")
MILLION = 1_000_000


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with memory() as connection:
        prices.register(connection, FOLDER)
        yield connection


def rate(
    con: duckdb.DuckDBPyConnection,
    provider: str,
    model: str,
    day: str,
    size: int,
    tier: str = "standard",
    minute: int = 720,
    region: str = "",
) -> dict[str, Decimal | None]:
    """USD per million of each meter, from the one row that holds."""
    rows = con.execute(
        f"""
        select {", ".join(f"{meter} * {MILLION}" for meter in prices.METERS)} from rate_table
        where provider = $provider and model = $model and service_tier = $tier and region = $region
            and $minute >= minute_from and $minute < minute_to and $day::date >= valid_from and $day::date < valid_to
            and $size > input_gt and $size <= input_le
        """,
        {"provider": provider, "model": model, "tier": tier, "day": day, "size": size, "minute": minute, "region": region},
    ).fetchall()
    assert len(rows) == 1
    return dict(zip(prices.METERS, rows[0], strict=True))


def listed(
    con: duckdb.DuckDBPyConnection, provider: str, model: str, meters: str, *where: object
) -> list[Decimal | None]:
    known = rate(con, provider, model, *where)  # type: ignore[arg-type]
    return [known[meter] for meter in meters.split()]


FOUR = "input_uncached cache_read output reasoning"


def test_prices_checked_by_hand(con: duckdb.DuckDBPyConnection) -> None:
    d = Decimal
    day = "2026-10-20"
    assert listed(con, "openai", "gpt-5", FOUR, day, 5) == [d("1.25"), d("0.125"), 10, 10]
    assert listed(con, "openai", "gpt-5", FOUR, day, 5, "flex") == [d("0.625"), d("0.0625"), 5, 5]
    assert listed(con, "openai", "gpt-5", FOUR, day, 5, "priority") == [d("2.5"), d("0.25"), 20, 20]
    assert listed(con, "anthropic", "claude-opus-4-1", FOUR, day, 5) == [15, d("1.5"), 75, 75]
    assert listed(con, "anthropic", "claude-haiku-4-5", "cache_write_5m cache_write_1h", day, 5) == [d("1.25"), 2]
    assert listed(con, "aws", "amazon.nova-pro-v1:0", FOUR, day, 5) == [d("0.8"), d("0.2"), d("3.2"), d("3.2")]
    assert listed(con, "openai", "text-embedding-3-small", "input_uncached output", day, 5) == [d("0.02"), None]
    sold_in_region = rate(con, "aws", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0", day, 5)["output"]
    sold_globally = rate(con, "aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", day, 5)["output"]
    assert sold_in_region == sold_globally * d("1.1")


def test_a_threshold_decides_for_the_whole_request(con: duckdb.DuckDBPyConnection) -> None:
    below, above = (rate(con, "google", "gemini-2.5-pro", "2026-10-20", size) for size in (200_000, 200_001))
    assert (below["input_uncached"] * 200_000 / MILLION, above["input_uncached"] * 200_001 / MILLION) == (
        Decimal("0.25"),
        Decimal("0.5000025"),
    )
    assert (below["output"], above["output"], above["cache_read"]) == (10, 15, Decimal("0.25"))
    assert rate(con, "google", "gemini-2.5-pro", "2026-10-20", 0) == below
    assert rate(con, "google", "gemini-2.5-pro", "2026-10-20", prices.NO_LIMIT) == above


def test_the_day_decides(con: duckdb.DuckDBPyConnection) -> None:
    assert listed(con, "openai", "o3", FOUR, "2025-06-09", 1) == [10, Decimal("0.5"), 40, 40]
    assert listed(con, "openai", "o3", FOUR, "2025-06-10", 1) == [2, Decimal("0.5"), 8, 8]


def test_the_day_on_which_the_source_learned_a_price_is_not_the_day_it_began(con: duckdb.DuckDBPyConnection) -> None:
    """All batch variants start on 2026-10-14 in the data: rated by that, September's batches cost twice what they did."""
    assert [rate(con, "openai", "gpt-5", day, 1, "batch")["output"] for day in ("2026-09-01", "2026-10-13", "2026-10-14")] == [5, 5, 5]
    assert listed(con, "openai", "o3", "input_uncached output", "2025-06-09", 1, "batch") == [10, 40]  # before its price of today
    assert listed(con, "openai", "o3", "input_uncached output", "2025-06-10", 1, "batch") == [1, 4]


def test_the_hour_decides(con: duckdb.DuckDBPyConnection) -> None:
    """DeepSeek's hours: full price from 00:30 to 16:30 UTC, half of it otherwise; twice the price from 01:00 to 04:00 and 06:00 to 10:00."""
    d = Decimal
    chat = {minute: rate(con, "deepseek", "deepseek-chat", "2026-10-20", 1, minute=minute)["output"] for minute in (0, 29, 30, 989, 990, 1439)}
    assert chat == {0: d("0.55"), 29: d("0.55"), 30: d("1.1"), 989: d("1.1"), 990: d("0.55"), 1439: d("0.55")}
    low, high = d("0.6"), d("1.2")
    flash = {hour: rate(con, "deepseek", "deepseek-v4-flash", "2026-10-20", 1, minute=hour * 60)["output"] for hour in (0, 1, 3, 4, 5, 6, 9, 10)}
    assert flash == {0: low, 1: high, 3: high, 4: low, 5: low, 6: high, 9: high, 10: low}


def test_other_things_than_tokens_have_prices(con: duckdb.DuckDBPyConnection) -> None:
    d = Decimal
    day = "2026-10-20"
    assert rate(con, "perplexity", "sonar", day, 5)["requests"] == d("0.012") * MILLION
    assert rate(con, "mistral", "mistral-ocr-2512", day, 5)["images"] == d("0.002") * MILLION
    assert rate(con, "cohere", "rerank-v3.5", day, 0)["search_units"] == d("0.002") * MILLION
    assert listed(con, "google", "gemini-2.5-flash-image", "input_uncached output", day, 5) == [d("0.3"), None]


def test_a_region_with_an_uplift_has_rows_of_its_own(con: duckdb.DuckDBPyConnection) -> None:
    for tier in ("standard", "batch", "flex", "priority"):
        here, there = (rate(con, "openai", "gpt-5.4", "2026-10-20", 5, tier, region=region) for region in ("eu", ""))
        assert {m: p * 10 for m, p in here.items() if p} == {m: p * 11 for m, p in there.items() if p}
    assert con.execute("select count(*) from rate_table where region <> '' and source not like 'https://%'").fetchone() == (0,)


def test_exactly_one_row_holds_for_any_request(con: duckdb.DuckDBPyConnection) -> None:
    """Rectangles of days x sizes: none overlaps another, and together they fill every size on every day of the tier."""
    overlaps = con.execute(
        """
        select a.provider, a.model, a.service_tier, a.rate_id, b.rate_id
        from rate_table a
        join rate_table b using (provider, model, service_tier, region)
        where a.rate_id < b.rate_id and a.minute_from < b.minute_to and b.minute_from < a.minute_to and a.valid_from < b.valid_to and b.valid_from < a.valid_to
            and a.input_gt < b.input_le and b.input_gt < a.input_le
        """
    ).fetchall()
    assert overlaps == []
    gaps = con.execute(
        """
        with spans as (
            select provider, model, service_tier, region, minute_from, minute_to, valid_from, min(input_gt) as low, max(input_le) as high,
                sum(input_le::hugeint - input_gt) as covered, count(distinct valid_to) as ends, min(valid_to) as valid_to
            from rate_table group by all
        ),
        tiers as (
            select provider, model, min(valid_from) as first, max(valid_to) as last, sum((valid_to - valid_from) * (minute_to - minute_from)) as minutes
            from spans group by provider, model, service_tier, region
        )
        select provider, model from spans where low <> -1 or high <> $most or covered <> $most::hugeint + 1 or ends <> 1 or valid_to <= valid_from
        union all
        select provider, model from tiers where minutes <> (last - first) * 1440 or last <> date '9999-12-31'
        """,
        {"most": prices.NO_LIMIT},
    ).fetchall()
    assert gaps == []
    counted = con.execute(
        "select count(*), count(distinct rate_id), count(*) filter (input_uncached is null and images is null and search_units is null) from rate_table"
    ).fetchone()
    assert counted == (counted[0], counted[0], 0) and counted[0] > 3_000
    assert con.execute("select distinct rate_source, currency from rate_table").fetchall() == [("list", "USD")]


def test_rates_charge_what_their_source_charges(con: duckdb.DuckDBPyConnection) -> None:
    """A thousand calls of any model, day, tier and size cost the same as by the library that the snapshot was made from."""
    genai = pytest.importorskip("genai_prices")
    data = pytest.importorskip("genai_prices.data")
    facts = json.loads((prices.newest(FOLDER) / "snapshot.json").read_text())
    if facts["version"] != genai.__version__:
        pytest.skip(f"the snapshot was made from genai-prices {facts['version']}")
    contexts = {tier: dict([when]) for when, tier in snapshots.TIERS.items() if when != ("speed", "fast")} | {
        "standard": {}
    }
    rng = random.Random(7)
    wanted = []
    models = {(p.id, m.id): m for p in data.providers for m in p.models}
    tiers = con.execute("select distinct provider, model, service_tier from rate_table where source like 'genai%' order by all").fetchall()
    for provider, model, tier in rng.choices(tiers, k=500) + rng.choices(
        [t for t in tiers if t[2] != "standard"], k=500
    ):
        entry = models[provider, model]
        if tier == "fast" and any("speed" in v.when for v in entry.price_variants):
            continue
        size, day = (
            rng.choice([0, 1, 199_999, 200_000, 200_001, 272_001, 900_000]),
            date(2025, 1, 1).toordinal() + rng.randrange(800),
        )
        read, written, output = size // 3, size // 5, rng.randrange(5_000)
        minute = rng.choice([0, 29, 30, 720, 989, 990])
        if tier != "standard":  # its first days are when the library learned its price
            day = max(day, date(2026, 10, 15).toordinal())
        moment = datetime.combine(date.fromordinal(day), hour(minute // 60, minute % 60), UTC)
        at = entry.get_prices(moment, contexts[tier])
        usage = genai.Usage(input_tokens=size, cache_read_tokens=read, cache_write_tokens=written, output_tokens=output)
        keys = {key: value for key, value in vars(at).items() if value is not None and key != "requests_kcount"}
        if "input_mtok" not in keys or "output_image_mtok" in keys:  # sold by the page, or images apart from text
            continue
        cost = type(at)(**keys).calc_price(usage)["total_price"]
        known = rate(con, provider, model, date.fromordinal(day).isoformat(), size, tier, minute)
        ours = known["input_uncached"] * (size - read - written) + known["cache_read"] * read
        ours += known["cache_write_5m"] * written + (known["output"] or 0) * output
        wanted.append(
            (abs(ours - cost * MILLION) <= MILLION * Decimal("0.000001"), provider, model, tier, moment, size)
        )
    assert [w for w in wanted if not w[0]] == [] and len(wanted) > 900


def test_zero_is_a_price_and_a_missing_one_is_that_of_its_ancestor() -> None:
    def priced(free: bool = False, **keys: object) -> list[dict[str, object]]:
        return list(snapshots._sizes(keys, free, snapshots.Counter()))

    (row,) = priced(
        input_mtok=Decimal(3), cache_read_mtok=Decimal(0), cache_write_mtok=Decimal(4), output_mtok=Decimal(9)
    )
    assert {meter: price and price * MILLION for meter, price in row.items() if meter in prices.METERS} == {
        "input_uncached": 3, "cache_read": 0, "cache_write_5m": 4, "cache_write_1h": 4, "output": 9, "reasoning": 9,
        "audio_input": 3, "audio_output": 9, "images": None, "search_units": None, "requests": None,
    }  # fmt: skip
    assert priced() == [] and priced(audio_hours=Decimal(1)) == [] and priced(True, audio_hours=Decimal(1)) == []
    assert [row["output"] for row in priced(True)] == [0]


RESOLVED = {
    ("openai", "gpt-5-2025-08-07"): ("gpt-5", "openai", "gpt-5"),
    ("openai", "GPT-5-Mini-20250807"): ("gpt-5-mini", "openai", "gpt-5-mini"),
    ("openai", "openai/gpt-5"): ("gpt-5", "openai", "gpt-5"),
    ("litellm", "anthropic/claude-haiku-4-5"): ("claude-haiku-4-5", "anthropic", "claude-haiku-4-5"),
    ("gemini", "models/gemini-2.5-flash"): ("gemini-2.5-flash", "google", "gemini-2.5-flash"),
    ("vertex_ai", "vertex_ai/gemini-2.5-pro"): ("gemini-2.5-pro", "google", "gemini-2.5-pro"),
    ("vertex_ai", "publishers/google/models/gemini-2.5-flash"): ("gemini-2.5-flash", "google", "gemini-2.5-flash"),
    ("gemini", "gemini-2.5-pro-preview-tts"): ("gemini-2.5-pro-tts", "google", "gemini-2.5-pro-tts"),
    ("bedrock", "converse/eu.amazon.nova-pro-v1:0"): ("amazon.nova-pro-v1:0", "aws", "amazon.nova-pro-v1:0"),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"): ("regional.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws"),
    ("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"): ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws"),
    ("aws", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0"): ("amazon.nova-lite-v1:0", "aws"),
    ("aws", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"): (
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", None, None),
    ("azure", "azure/EU/gpt-4o-2024-08-06"): ("azure/eu/gpt-4o-2024-08-06", "openai", "gpt-4o"),
    ("openai", "whisper-1"): ("whisper-1", None, None),
    ("openai", "ft:gpt-4o-mini:org::id"): ("ft:gpt-4o-mini:org::id", None, None),
    ("openai", "gpt-preview-internal"): ("gpt-preview-internal", None, None),
    ("hosted_vllm", "llama-3.3-70b"): ("llama-3.3-70b", None, None),
    ("hosted_vllm", "gpt-5"): ("gpt-5", None, None),
    ("openai", "x" * 5_000): ("x" * 5_000, None, None),
    ("pinecone", None): (None, None, None),
    (None, "GPT-5"): ("gpt-5", None, None),
}  # fmt: skip


def test_names_find_their_model(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create or replace temp table pairs(provider varchar, model_as_logged varchar)")
    con.executemany("insert into pairs values (?, ?)", [list(pair) for pair in RESOLVED] * 2)
    prices.resolve_models(con, "pairs", FOLDER)
    rows = con.execute(
        "select provider, model_as_logged, model, price_provider, price_model, rule from model_resolution"
    ).fetchall()
    assert len(rows) == len(RESOLVED)
    found = {(row[0], row[1]): row[2:] for row in rows}
    assert {pair: found[pair][: len(want)] for pair, want in RESOLVED.items()} == RESOLVED
    assert found["openai", "gpt-5-2025-08-07"][3] == "equals gpt-5-2025-08-07"
    assert found["azure", "azure/EU/gpt-4o-2024-08-06"][3] == "price of openai: equals gpt-4o-2024-08-06"
    assert found["openai", "gpt-preview-internal"][3] == "no rule"
    priced = "select count(*) from model_resolution m semi join rate_table r on r.provider = m.price_provider and r.model = m.price_model"
    assert con.execute(priced).fetchone() == (sum(bool(row[3]) for row in rows),)


def test_an_empty_log_resolves_to_an_empty_table(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create or replace temp table pairs(provider varchar, model_as_logged varchar)")
    prices.resolve_models(con, "pairs", FOLDER)
    columns = con.execute("select column_name, column_type from (describe model_resolution)").fetchall()
    assert columns == [
        (name, "VARCHAR") for name in ("provider", "model_as_logged", "seller", "model", "price_provider", "price_model", "rule", "source_version")
    ]


def test_the_sample_company_pays_these_prices(con: duckdb.DuckDBPyConnection) -> None:
    known = prices.load(FOLDER)
    for table, size in ((company.LIST_PRICES, 1_000), (company.LONG_PRICES, company.LONG_CONTEXT + 1)):
        for (provider, model), meters in table.items():
            for name in {model, company.LOGGED_AS.get(model, model), company.BILLED_AS.get(model, model)}:
                assert known.resolve(provider, name)[:3] == (model, provider, model)
            ours = rate(con, provider, model, "2026-09-15", size)
            assert {meter: ours[meter] for meter in meters} == {
                meter: Decimal(price) for meter, price in meters.items()
            }
            assert rate(con, provider, model, "2026-10-31", size) == ours
    short = {model for model in company.LIST_PRICES if model not in company.LONG_PRICES}
    assert all(rate(con, *model, "2026-10-15", 1) == rate(con, *model, "2026-10-15", MILLION) for model in short)


def test_the_rates_of_a_period_are_made_from_it(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create or replace temp table model_names as select '2026-10' as usage_period, *, price_provider as list_provider, price_model as list_model from (values ('aws', 'amazon.nova-pro-v1:0'), ('google', 'gemini-2.5-pro')) t(price_provider, price_model)")  # fmt: skip
    con.execute("create or replace temp table policy_private_prices(price_id varchar, provider varchar, model varchar, meter varchar, per_token decimal(20, 12), valid_from date, valid_to date)")  # fmt: skip
    con.execute("create or replace temp table policy_discounts as select 'edp' as discount_id, 'aws' as provider, null::varchar as service, null::varchar as model, null::varchar as meter, 7.5::decimal(9, 6) as percent, date '2026-01-01' as valid_from, date '2027-01-01' as valid_to")  # fmt: skip
    con.execute("create or replace temp table bill_lines(usage_period varchar, provider varchar, model varchar, service varchar)")
    con.execute("create or replace temp table policy_candidates(other_provider varchar, other_model varchar)")
    con.execute("create or replace temp table bill_prices as select '2026-10' as usage_period, * from (values ('google', 'gemini-2.5-pro', 'standard', 'input_uncached', 0.000003), ('aws', 'amazon.nova-pro-v1:0', 'standard', 'input_uncached', 0.000004), ('openai', 'gpt-inside', 'standard', 'output', 0.00001)) t(provider, model, service_tier, meter, unit_price)")  # fmt: skip
    rates = f"select model, rate_source, contracted_input_uncached * {MILLION} as price, list_input_uncached * {MILLION} as listed, input_gt from ({asset('sql', 'rate', 'rates.sql').read_text()}) where service_tier = 'standard' and valid_from <= '2026-10-05' and valid_to > '2026-10-05' order by all"  # fmt: skip
    d = Decimal
    assert con.execute(rates, {"period": "2026-10"}).fetchall() == [
        ("amazon.nova-pro-v1:0", "contract", d("0.74"), d("0.8"), -1),
        ("gemini-2.5-pro", "bill", d(3), d("1.25"), -1),
        ("gemini-2.5-pro", "bill", d(3), d("2.5"), 200_000),
        ("gpt-inside", "bill", None, None, -1),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "list_prices"))


def changed(folder: Path, day: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Path:
    """A newer snapshot, in which every rate is what `change` makes of it; None removes it."""
    newer = Path(shutil.copytree(prices.snapshots(folder)[0].folder, folder / day))
    rows = [change(row) for row in pq.read_table(newer / "rates.parquet").to_pylist()]
    pq.write_table(pa.Table.from_pylist([row for row in rows if row], prices.RATES), newer / "rates.parquet")
    return newer


def doubled(row: dict[str, Any]) -> dict[str, Any] | None:
    """Prices of openai twice as high, and Nova gone."""
    if row["model"] == "amazon.nova-pro-v1:0":
        return None
    return row | {"input_uncached": row["input_uncached"] * 2} if row["provider"] == "openai" and row["input_uncached"] else row


def price_on(con: duckdb.DuckDBPyConnection, provider: str, model: str, *days: str) -> list[Decimal | None]:
    return [rate(con, provider, model, day, 5)["input_uncached"] for day in days]


def test_a_snapshot_decides_from_its_own_day_on(folder: Path) -> None:
    changed(folder, "2026-12-05", doubled)
    (folder / "2032-notes").mkdir()
    with memory() as con:
        prices.register(con, folder)
        assert price_on(con, "openai", "gpt-5", "2026-12-04", "2026-12-05") == [Decimal("1.25"), Decimal("2.5")]
        assert price_on(con, "anthropic", "claude-opus-4-1", "2026-12-04", "2026-12-05") == [15, 15]
        assert price_on(con, "aws", "amazon.nova-pro-v1:0", "2026-12-04", "2027-03-05") == [Decimal("0.8")] * 2
        con.execute("create temp table pairs as select 'aws' as provider, 'amazon.nova-pro-v1:0' as model_as_logged")
        prices.resolve_models(con, "pairs", folder, (date(2027, 3, 1), date(2027, 4, 1)))
        assert con.execute("select price_model from model_resolution").fetchall() == [("amazon.nova-pro-v1:0",)]


def test_history_changes_where_somebody_asked_for_it(folder: Path) -> None:
    changed(folder, "2026-12-05", doubled)
    changed(folder, "2026-12-20", lambda row: row)
    (folder / prices.APPLIED).write_text('{"2026-12-05": "2026-11-01"}')
    with memory() as con:
        prices.register(con, folder)
        days = ("2026-10-31", "2026-11-01", "2026-12-19", "2026-12-20")
        assert price_on(con, "openai", "gpt-5", *days) == [Decimal("1.25"), Decimal("2.5"), Decimal("2.5"), Decimal("1.25")]
        (folder / prices.APPLIED).write_text('{"2026-12-05": "2026-11-01", "2026-12-20": "2026-10-01"}')
        prices.register(con, folder)
        assert price_on(con, "openai", "gpt-5", *days) == [Decimal("1.25")] * 4
        (folder / prices.APPLIED).write_text("[]")
        with pytest.raises(Refused, match=r"applied.json: does not say which snapshot"):
            prices.register(con, folder)


def test_a_name_keeps_its_meaning_when_a_newer_list_knows_better(folder: Path) -> None:
    """In the month a snapshot arrives it may add names; the month after it decides alone."""
    newer = changed(folder, "2026-12-05", lambda row: row)
    rules = pq.read_table(newer / "match_rules.parquet").to_pylist()
    first = {"provider": "openai", "ord": -1, "model": "gpt-4o", "term": 0, "op": "equals"}
    more = [first | {"pattern": "gpt-5"}, first | {"pattern": "gpt-next", "ord": -2}]
    pq.write_table(pa.Table.from_pylist([*more, *rules], prices.RULES), newer / "match_rules.parquet")
    with memory() as con:
        con.execute("create temp table pairs as select 'openai' as provider, unnest(['gpt-5', 'gpt-next']) as model_as_logged")
        found = {}
        for month in (11, 12, 13):
            first_day = date(2026 + month // 13, (month - 1) % 12 + 1, 1)
            prices.resolve_models(con, "pairs", folder, (first_day, first_day + timedelta(days=31)))
            found[month] = [row[0] for row in con.execute("select price_model from model_resolution order by model_as_logged").fetchall()]
    assert found == {11: ["gpt-5", None], 12: ["gpt-5", "gpt-4o"], 13: ["gpt-4o", "gpt-4o"]}


def test_an_override_says_what_a_deployment_name_means(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create or replace temp table pairs as select 'azure' as provider, unnest(['prod-chat', 'Prod-Embed']) as model_as_logged")
    overrides = [prices.Override("azure", "PROD-chat", "openai", "gpt-5-2025-08-07"), prices.Override("azure", "prod-embed", "azure", "no such")]
    prices.resolve_models(con, "pairs", FOLDER, overrides=overrides)
    assert con.execute("select model_as_logged, model, price_provider, price_model, rule from model_resolution order by all").fetchall() == [
        ("Prod-Embed", "no such", None, None, "override: azure no such (no price)"),
        ("prod-chat", "gpt-5", "openai", "gpt-5", "override: openai gpt-5-2025-08-07"),
    ]


def test_what_is_missing_or_broken_is_refused(folder: Path) -> None:
    """C25: an incident of LiteLLM's price map: what could not be read cost nothing."""
    newest = prices.newest(folder)
    with memory() as con, pytest.raises(Refused, match="no snapshot of list prices"):
        prices.register(con, folder / "elsewhere")
    rules = pq.read_table(newest / "match_rules.parquet").to_pylist()
    broken = [{**rule, "op": "regex", "pattern": "(("} if i == 0 else rule for i, rule in enumerate(rules)]
    pq.write_table(pa.Table.from_pylist(broken, prices.RULES), newest / "match_rules.parquet")
    with pytest.raises(Refused, match=r"match_rules.parquet: not a regular expression"):
        prices.load(folder)
    (newest / "rates.parquet").unlink()
    with memory() as con, pytest.raises(Refused, match=r"rates.parquet: the snapshot lacks this file"):
        prices.register(con, folder)


def test_an_export_is_the_snapshot_again_and_never_replaces_one(tmp_path: Path) -> None:
    genai = pytest.importorskip("genai_prices")
    shipped = prices.newest(FOLDER)
    if json.loads((shipped / "snapshot.json").read_text())["version"] != genai.__version__:
        pytest.skip("the snapshot was made from another genai-prices")
    made = snapshots.export(tmp_path, date.fromisoformat(shipped.name))
    for name in ("rates.parquet", "match_rules.parquet"):
        assert pq.read_table(made / name).equals(pq.read_table(shipped / name))
    for name in ("snapshot.json", "LICENSE"):
        assert (made / name).read_text() == (shipped / name).read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [shipped.name]
    with pytest.raises(Refused, match="this day has a snapshot already"):
        snapshots.export(tmp_path, date.fromisoformat(shipped.name))


def test_a_thousand_unknown_names_are_quick(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create or replace temp table pairs as select 'openrouter' as provider, 'maker/unknown-' || i || '-20260101' as model_as_logged from range(1000) t(i)")  # fmt: skip
    prices.load(FOLDER)
    start = time.process_time()
    prices.resolve_models(con, "pairs", FOLDER)
    assert time.process_time() - start < 1


def test_a_name_means_one_model_at_a_time_and_for_whole_months(tmp_path: Path) -> None:
    policy.write_template(tmp_path / "policy", "2026-10")
    sources = tmp_path / "policy" / "sources.yaml"
    entry = "  - {provider: azure, logged: prod-chat, model: gpt-4o, prices_of: openai%s}\n"
    sources.write_text("version: 1\nmodels:\n" + entry % ", to: 2026-10-01" + entry % ", from: 2026-10-01")
    assert [m.model for m in policy.load(tmp_path / "policy").sources.models] == ["gpt-4o"] * 2
    for dates, reason in ((", from: 2026-09-01", "meanings of azure prod-chat overlap"), (", from: 2026-10-02", "for a whole period; date it on its first day")):
        sources.write_text("version: 1\nmodels:\n" + entry % ", to: 2026-10-01" + entry % dates)
        with pytest.raises(Refused, match=rf"sources.yaml:4: .*{reason}"):
            policy.load(tmp_path / "policy")


def test_the_supplement_cites_every_entry(tmp_path: Path) -> None:
    shipped = snapshots.supplement(FOLDER)
    assert shipped.prices and shipped.uplifts and shipped.recordings
    text = (FOLDER / snapshots.SUPPLEMENT).read_text()
    for broken, reason in ((text.replace("    seen: 2026-11-28\n", "", 1), "seen is missing"), (text.replace("https://", "somewhere/", 1), "source")):
        (tmp_path / snapshots.SUPPLEMENT).write_text(broken)
        with pytest.raises(Refused, match=rf"supplement.yaml:\d+: .*{reason}"):
            snapshots.supplement(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "listed", "known"),
    [
        ("0.000020", "0.000020", None, [Decimal("0.000020")]),
        ("0.000020", "0.000022", None, []),  # it moved within the month
        ("0.000020", "0.000020", "0.000010", [Decimal("0.000020")]),
        ("0.000200", "0.000200", "0.000010", [Decimal("0.000200")]),
        ("0.000201", "0.000201", "0.000010", []),  # beyond twenty times the list price: another unit
        ("0.000001", "0.000001", "0.000021", []),
        ("0.999999", "0.999999", None, [Decimal("0.999999")]),
        ("1.000000", "1.000000", None, []),  # a dollar for a token: the bill counts millions of them
    ],
)
def test_when_a_bill_tells_a_unit_price(first: str, second: str, listed: str | None, known: list[Decimal]) -> None:
    with memory() as con:
        meters = ", ".join(f"null::decimal(20, 12) as {name}" for name in prices.METERS if name != "output")
        con.execute(f"create temp table rate_table as select 'lister' as provider, 'listed-x' as model, {meters}, $price::decimal(20, 12) as output", {"price": listed})
        con.execute("create temp table model_names as select '2026-10' as usage_period, 'openai' as provider, 'gpt-x' as model, 'lister' as list_provider, 'listed-x' as list_model")
        con.execute(asset("sql", "macros.sql").read_text())
        con.execute(
            """
            create temp table bill_lines as
            select
                '2026-10' as usage_period, 'Usage' as charge_category, null::varchar as charge_class, 'USD' as billing_currency,
                'openai' as provider, 'gpt-x' as model, 'standard' as service_tier, 'output' as sku_meter, 'Tokens' as consumed_unit,
                null::varchar as vector_index_id, null::varchar as cluster, day as usage_date, 1000::decimal(38, 12) as consumed_quantity,
                (1000 * price::decimal(12, 6))::decimal(38, 12) as contracted_cost
            from (values (date '2026-10-01', $first), (date '2026-10-02', $second)) t(day, price)
            """,
            {"first": first, "second": second},
        )
        sql = asset("sql", "rate", "bill_prices.sql").read_text()
        assert [row[-1] for row in con.execute(sql, {"period": "2026-10"}).fetchall()] == known
