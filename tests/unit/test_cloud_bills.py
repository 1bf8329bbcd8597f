"""The clouds' own bills: cost and usage reports of AWS, cost details of Azure, billing exports of Google Cloud."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from pipelines import landing
from pipelines.books import Arrivals, Books
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.sample import Truth
from pipelines.sample.arrivals import bill_deliveries
from pipelines.sample.truth import BillLine
from pipelines.sample.writers import focus as focus_writer
from pipelines.sources import BILL_LINE, Delivery, Format
from pipelines.sources.billing import aws_cur, azure_cost, bedrock, focus, gcp_billing
from tests.conftest import quiet

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
Row = dict[str, Any]


def read(format_: Format, *paths: Path, account: str | None = "acct", manifests: Iterable[Path] = (), known: duckdb.DuckDBPyConnection | None = None) -> tuple[list[Row], set[tuple[Any, ...]]]:
    """Rows of `parsed` and of `coverage`."""
    delivery = Delivery("id", "billing", "vendor", paths, 0, 0, tuple(manifests))
    with nullcontext(known) if known else duckdb.connect() as con:
        format_.read(con, delivery, SimpleNamespace(billing_account_id=account))
        found = con.execute("select * from parsed order by source_row")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        types = dict(con.execute("select column_name, column_type from (describe parsed)").fetchall())
        assert types == {**BILL_LINE, "source_row": "BIGINT", "reject": "VARCHAR"}
        assert len({row["source_row"] for row in rows}) == len(rows)
        return rows, set(con.execute("from coverage").fetchall())


def refusal(format_: Format, *paths: Path, **said: Any) -> str:
    with pytest.raises(Refused) as error:
        read(format_, *paths, **said)
    assert "\n" not in str(error.value)
    return str(error.value)


def sample(name: str) -> Path:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"no sample {name} beside the checkout")
    return path


def total(rows: list[Row], name: str) -> Decimal:
    return sum((row[name] for row in rows if row[name] is not None), Decimal(0))


def csv_text(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    out = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    return text.getvalue()


# --- AWS -----------------------------------------------------------------------------------------------------------

CUR: Row = {
    "identity_line_item_id": "x", "bill_invoice_id": "", "bill_billing_entity": "AWS", "bill_payer_account_id": "acct",
    "bill_billing_period_start_date": "2026-10-01T00:00:00.000Z", "bill_billing_period_end_date": "2026-11-01T00:00:00.000Z",
    "line_item_usage_account_id": "sub", "line_item_legal_entity": "Amazon Web Services, Inc.", "line_item_line_item_type": "Usage",
    "line_item_usage_start_date": "2026-10-05T13:00:00.000Z", "line_item_usage_end_date": "2026-10-05T14:00:00.000Z",
    "line_item_product_code": "AmazonEC2", "line_item_usage_type": "BoxUsage:p5", "line_item_operation": "RunInstances",
    "line_item_resource_id": "i-1", "line_item_iam_principal": "", "line_item_usage_amount": "2", "line_item_currency_code": "USD",
    "line_item_unblended_cost": "10", "line_item_line_item_description": "", "pricing_unit": "Hrs",
    "pricing_public_on_demand_cost": "12", "product": "{}", "product_product_name": "", "product_sku": "", "product_region": "us-east-1",
    "reservation_reservation_arn": "", "reservation_effective_cost": "",
    "reservation_unused_amortized_upfront_fee_for_billing_period": "", "reservation_unused_recurring_fee": "",
    "savings_plan_savings_plan_arn": "", "savings_plan_savings_plan_effective_cost": "",
    "savings_plan_total_commitment_to_date": "", "savings_plan_used_commitment": "",
}  # fmt: skip


def cur(folder: Path, *changes: Row) -> Path:
    path = folder / "cur.csv"
    path.write_text(csv_text([{**CUR, **change} for change in changes]))
    return path


@pytest.mark.parametrize(
    ("type_", "change", "said"),  # category, billed, effective, list, contracted, quantity
    [
        ("Usage", {}, ("Usage", "10", "10", "12", "10", "2")),
        ("DiscountedUsage", {"reservation_effective_cost": "3.5"}, ("Usage", "10", "3.5", "12", "10", "2")),
        ("SavingsPlanCoveredUsage", {"savings_plan_savings_plan_effective_cost": "4"}, ("Usage", "10", "4", "12", "10", "2")),
        ("SavingsPlanNegation", {"line_item_unblended_cost": "-10"}, ("Usage", "-10", "0", "0", "0", None)),
        (
            "SavingsPlanRecurringFee",
            {"savings_plan_total_commitment_to_date": "10", "savings_plan_used_commitment": "9.25"},
            ("Purchase", "10", "0.75", "10", "10", None),
        ),
        ("SavingsPlanUpfrontFee", {}, ("Purchase", "10", "0", "10", "10", None)),
        (
            "RIFee",
            {"reservation_unused_amortized_upfront_fee_for_billing_period": "1.5", "reservation_unused_recurring_fee": "0.25"},
            ("Purchase", "10", "1.75", "10", "10", None),
        ),
        ("Fee", {}, ("Purchase", "10", "10", "10", "10", None)),
        ("Fee", {"reservation_reservation_arn": "arn:ri"}, ("Purchase", "10", "0", "10", "10", None)),
        ("Tax", {}, ("Tax", "10", "10", "10", "10", None)),
        ("Credit", {"line_item_unblended_cost": "-10"}, ("Credit", "-10", "-10", "-10", "-10", None)),
        ("Refund", {"line_item_unblended_cost": "-10"}, ("Adjustment", "-10", "-10", "-10", "-10", None)),
        ("Refund", {"line_item_unblended_cost": "-10", "savings_plan_savings_plan_arn": "arn:sp"}, ("Adjustment", "-10", "0", "-10", "-10", None)),
        ("EdpDiscount", {"line_item_unblended_cost": "-1"}, ("Usage", "-1", "-1", "0", "-1", None)),
        ("BundledDiscount", {"line_item_unblended_cost": "-1"}, ("Usage", "-1", "-1", "0", "-1", None)),
        ("FlatRateSubscription", {}, ("Usage", "10", "10", "12", "10", "2")),
    ],
)  # fmt: skip
def test_aws_line_item_types(tmp_path: Path, type_: str, change: Row, said: tuple[str | None, ...]) -> None:
    (row,), coverage = read(aws_cur.FORMAT, cur(tmp_path, {"line_item_line_item_type": type_, **change}))
    found = tuple(row[name] for name in ("charge_category", "billed_cost", "effective_cost", "list_cost", "contracted_cost", "consumed_quantity"))
    assert found == (said[0], *(None if text is None else Decimal(text) for text in said[1:]))
    assert coverage == {("acct", "2026-10", None)} and row["usage_date"] == date(2026, 10, 5)


@pytest.mark.parametrize("type_", aws_cur.EFFECTIVE)
def test_aws_without_what_tells_the_effective_cost_is_refused(tmp_path: Path, type_: str) -> None:
    path = cur(tmp_path, {}, {"line_item_line_item_type": type_})
    assert f"record 2: {aws_cur.EFFECTIVE[type_][0]} is empty, and without it" in refusal(aws_cur.FORMAT, path)


@pytest.mark.parametrize(
    ("usage", "unit", "amount", "said"),  # model, meter, tier, quantity, unit
    [
        ("USW2-Claude4.6Sonnet-input-tokens", "1K tokens", "17.33", ("anthropic.claude-sonnet-4-6", "input_uncached", None, 17330, "Tokens")),
        ("USW2-Claude4.6Sonnet-cache-write-input-token-count", "1K tokens", "1", ("anthropic.claude-sonnet-4-6", "cache_write_5m", None, 1000, "Tokens")),
        ("USW2-Claude4.6Sonnet-cache-write-input-token-count-1h", "1K tokens", "1", ("anthropic.claude-sonnet-4-6", "cache_write_1h", None, 1000, "Tokens")),
        ("USE1-NovaLite-cache-read-input-token-count", "1K tokens", "1", ("amazon.nova-lite-v1:0", "cache_read", None, 1000, "Tokens")),
        ("USE1-Claude4.6Sonnet-output-tokens-cross-region-global", "1K tokens", "12", ("global.anthropic.claude-sonnet-4-6", "output", None, 12000, "Tokens")),
        ("USE1-Nova2.0Lite-input-tokens-flex", "1K tokens", "1", ("amazon.nova-2-lite-v1:0", "input_uncached", "flex", 1000, "Tokens")),
        ("USE1-gpt-oss-120b-output-tokens-priority", "1K tokens", "1", ("openai.gpt-oss-120b-1:0", "output", "priority", 1000, "Tokens")),
        ("USE1-NovaPro-input-tokens-batch", "1K tokens", "1", ("amazon.nova-pro-v1:0", "input_uncached", "batch", 1000, "Tokens")),
        ("USE1-openai.gpt-oss-120b-mantle-input-tokens-standard", "1K tokens", "1", ("openai.gpt-oss-120b-1:0", "input_uncached", None, 1000, "Tokens")),
        ("USE1-openai.gpt-oss-120b-mantle-cache-write-tokens-standard", "1M tokens", "1", ("openai.gpt-oss-120b-1:0", "cache_write_5m", None, 10**6, "Tokens")),
        ("USE1-TitanEmbedV2-Text-input-tokens", "1K tokens", "1", ("amazon.titan-embed-text-v2:0", "input_uncached", None, 1000, "Tokens")),
        ("USE1-Claude3.5Sonnet-input-tokens-long-context", "1K tokens", "1", ("anthropic.claude-3-5-sonnet", "input_uncached", None, 1000, "Tokens")),
        ("USE1-NewModel9-output-tokens", "1K tokens", "1", ("NewModel9", "output", None, 1000, "Tokens")),
        ("USE1-NovaCanvas-T2I-1024-Standard", "images", "3", ("amazon.nova-canvas-v1:0", "images", None, 3, "Images")),
        ("USE1-NovaLite-input-tokens", "Requests", "5", ("amazon.nova-lite-v1:0", "USE1-NovaLite-input-tokens", None, 5, "Requests")),
        ("USE1-ModelUnits-ProvisionedThroughput-1Month", "Hrs", "2", (None, "USE1-ModelUnits-ProvisionedThroughput-1Month", None, 2, "Hrs")),
        ("USE1-CustomModelUnit-Import", "Minutes", "2", (None, "USE1-CustomModelUnit-Import", None, 2, "Minutes")),
        ("USE1-Guardrail-ContentPolicyUnitsConsumed", "Units", "2", (None, "USE1-Guardrail-ContentPolicyUnitsConsumed", None, 2, "Units")),
    ],
)  # fmt: skip
def test_bedrock_usage_types(tmp_path: Path, usage: str, unit: str, amount: str, said: tuple[Any, ...]) -> None:
    change = {"line_item_product_code": "AmazonBedrock", "line_item_usage_type": usage, "pricing_unit": unit, "line_item_usage_amount": amount}
    (row,), _ = read(aws_cur.FORMAT, cur(tmp_path, change))
    assert tuple(row[name] for name in ("model_as_logged", "sku_meter", "service_tier", "consumed_quantity", "consumed_unit")) == said


@pytest.mark.parametrize(
    ("usage", "said"),  # model, meter, tier, tokens of one unit
    [
        ("USE1-MP:USE1_InputTokenCount-Units", ("anthropic.claude-opus-5", "input_uncached", None)),
        ("USE1-MP:USE1_OutputTokenCount_Global-Units", ("global.anthropic.claude-opus-5", "output", None)),
        ("USE1-MP:USE1_input_tokens_standard-Units", ("anthropic.claude-opus-5", "input_uncached", None)),
        ("USE1-MP:USE1_input_tokens_global_standard-Units", ("global.anthropic.claude-opus-5", "input_uncached", None)),
        ("USE1-MP:USE1_cache_write_tokens_1h_standard-Units", ("anthropic.claude-opus-5", "cache_write_1h", None)),
        ("USE1-MP:USE1_CacheReadInputTokenCount-Units", ("anthropic.claude-opus-5", "cache_read", None)),
        ("USE1-MP:USE1_CacheWrite1hInputTokenCount-Units", ("anthropic.claude-opus-5", "cache_write_1h", None)),
        ("USE1-MP:USE1_input_tokens_long_ctx_standard-Units", ("anthropic.claude-opus-5", "input_uncached", None)),
        ("USE1-MP:USE1_MillionBatchInputTokens-Units", ("anthropic.claude-opus-5", "input_uncached", "batch")),
        ("USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units", ("anthropic.claude-opus-5", None, None)),
    ],
)
def test_marketplace_models_are_named_by_their_product(tmp_path: Path, usage: str, said: tuple[str | None, ...]) -> None:
    change = {
        "bill_billing_entity": "AWS Marketplace", "line_item_product_code": "abc", "line_item_usage_type": usage, "pricing_unit": "Units",
        "line_item_usage_amount": "0.25", "product": json.dumps({"product_name": "Claude Opus 5 (Amazon Bedrock Edition)"}),
        "line_item_legal_entity": "Anthropic, PBC",
    }  # fmt: skip
    other = {**change, "product": json.dumps({"product_name": "Claude Haiku 4.5 (Amazon Bedrock Edition)"})}
    (row, second), _ = read(aws_cur.FORMAT, cur(tmp_path, change, other))
    model, meter, tier = said
    assert (row["model_as_logged"], row["sku_meter"], row["service_tier"]) == (model, meter or usage, tier)
    assert (row["consumed_quantity"], row["consumed_unit"]) == ((250_000, "Tokens") if meter else (Decimal("0.25"), "Units"))
    assert row["service_provider"] == "Anthropic, PBC" and second["model_as_logged"].endswith("anthropic.claude-haiku-4-5")


def test_aws_split_rows_tell_a_cost_a_second_time(tmp_path: Path) -> None:
    pod = {"line_item_operation": "EKSPod-EC2", "line_item_unblended_cost": "0", "line_item_usage_amount": "1"}
    rows, _ = read(aws_cur.FORMAT, cur(tmp_path, pod, {}, pod))
    assert [row["source_row"] for row in rows] == [2]


def test_aws_principals_lose_the_name_of_their_session(tmp_path: Path) -> None:
    role = "arn:aws:sts::4444:assumed-role/ChatApp/alice@example.com"
    key = "arn:aws:iam::4444:user/BedrockAPIKey-234s"
    rows, _ = read(aws_cur.FORMAT, cur(tmp_path, *({"line_item_iam_principal": who} for who in (role, key, ""))))
    assert [row["api_key_id"] for row in rows] == ["arn:aws:sts::4444:assumed-role/ChatApp", key, None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"line_item_unblended_cost": "1,234.50"}, "record 2: line_item_unblended_cost is not a number: 1,234.50"),
        ({"line_item_line_item_type": "NewKind"}, "unknown line item type: NewKind"),
        ({"line_item_currency_code": "EURO"}, "unknown currency: EURO"),
        ({"line_item_usage_start_date": "05/10/2026"}, "line_item_usage_start_date is not a time"),
        ({"line_item_usage_end_date": "2026-10-01T00:00:00Z"}, "the usage ends before it starts"),
        ({"bill_payer_account_id": "other"}, "another payer account than sources.yaml names: other"),
        ({"bill_billing_period_start_date": "2026-09-01T00:00:00Z"}, "lines of several payers or months"),
    ],
)
def test_aws_is_refused_whole(tmp_path: Path, change: Row, words: str) -> None:
    assert words in refusal(aws_cur.FORMAT, cur(tmp_path, {}, change, {}))


def test_aws_header_drift_shows_the_difference(tmp_path: Path) -> None:
    path = cur(tmp_path, {})
    good = path.read_text()
    path.write_text(good.replace("line_item_unblended_cost", "line_item_unblended_amount", 1))
    text = refusal(aws_cur.FORMAT, path)
    assert "column line_item_unblended_cost is missing (there is " in text and "line_item_unblended_amount" in text
    path.write_text(good.replace("identity_line_item_id", "line_item_usage_type", 1))
    assert "column line_item_usage_type appears twice" in refusal(aws_cur.FORMAT, path)
    path.write_text(good)
    manifest = tmp_path / "x-Manifest.json"
    for listed, said in (
        (["line_item_usage_type", "line_item_new_thing"], "column line_item_new_thing is missing"),
        ([{"category": "lineItem", "name": "NewThing"}], "column lineItem/NewThing is missing"),
    ):
        manifest.write_text(json.dumps({"billingPeriod": {"start": "2026-10-01"}, "columns": listed}))
        assert said in refusal(aws_cur.FORMAT, path, manifests=[manifest])
    manifest.write_text(json.dumps({"billingPeriod": {"start": "20260901T000000.000Z"}}))
    assert "another billing period than the manifest's 2026-09" in refusal(aws_cur.FORMAT, path, manifests=[manifest])


def test_an_empty_aws_report_covers_its_month(tmp_path: Path) -> None:
    path, manifest = cur(tmp_path, {}), tmp_path / "x-Manifest.json"
    path.write_text(path.read_text().split("\n")[0] + "\n")
    manifest.write_text(json.dumps({"billingPeriod": {"start": "2026-10-01T00:00:00Z"}}))
    assert read(aws_cur.FORMAT, path, manifests=[manifest]) == ([], {("acct", "2026-10", None)})


def test_aws_several_files_legacy_names_and_parquet_say_the_same(tmp_path: Path) -> None:
    changes = [{"line_item_unblended_cost": f"0.{n}", "product": '{"product_name": "S"}'} for n in range(1, 5)]
    whole, _ = read(aws_cur.FORMAT, cur(tmp_path, *changes))
    parts = []
    for n in (0, 2):
        parts.append(tmp_path / f"part-{n}.csv.gz")
        parts[-1].write_bytes(gzip.compress(csv_text([{**CUR, **change} for change in changes[n : n + 2]]).encode()))
    assert read(aws_cur.FORMAT, *parts)[0] == whole
    legacy = {
        "line_item_": "lineItem/", "savings_plan_": "savingsPlan/", "bill_": "bill/", "pricing_": "pricing/", "product_": "product/",
        "reservation_": "reservation/", "identity_": "identity/",
    }  # fmt: skip

    def old(name: str) -> str:
        group = next((start for start in legacy if name.startswith(start)), None)
        return legacy[group] + name.removeprefix(group).title().replace("_", "").replace("Arn", "ARN") if group else name

    rows = [{old(name): value for name, value in {**CUR, **change, "product_product_name": "S"}.items() if name != "product"} for change in changes]
    path = tmp_path / "legacy.csv"
    path.write_text(csv_text(rows).replace("\n", ",\n").replace(",\n", ",resourceTags/user:Team\n", 1))
    assert read(aws_cur.FORMAT, path)[0] == whole
    parquet = tmp_path / "cur.parquet"
    with duckdb.connect() as con:
        con.execute("set timezone = 'Asia/Tokyo'")
        times = ", ".join(f"{name}::timestamp as {name}" for name in CUR if name.endswith("_date"))
        con.execute(
            f"copy (select * replace (line_item_unblended_cost::double as line_item_unblended_cost, map {{'product_name': 'S'}} as product,"
            f" {times}) from read_csv('{tmp_path}/cur.csv', all_varchar = true)) to '{parquet}'"
        )
    assert read(aws_cur.FORMAT, parquet)[0] == whole


def test_aws_samples(tmp_path: Path) -> None:
    manifest = sample("billing/aws/cur2/metadata/BILLING_PERIOD=2026-10/cur2-Manifest.json")
    path = sample("billing/aws/cur2/data/BILLING_PERIOD=2026-10/cur2-00001.csv")
    text = refusal(aws_cur.FORMAT, path, account=None, manifests=[manifest])
    assert "record 20: savings_plan_total_commitment_to_date is not in the export" in text
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    for row in rows:
        fee = row["line_item_line_item_type"] == "SavingsPlanRecurringFee"
        row |= {"savings_plan_total_commitment_to_date": "32" if fee else "", "savings_plan_used_commitment": "30" if fee else ""}
    whole = tmp_path / "cur2.csv"
    whole.write_text(csv_text(rows))
    found, coverage = read(aws_cur.FORMAT, whole, account=None, manifests=[manifest])
    assert len(found) == 20 and coverage == {("111122223333", "2026-10", None)}
    assert total(found, "billed_cost") == sum(Decimal(row["line_item_unblended_cost"]) for row in rows) == Decimal("42.892319795")
    assert total(found, "effective_cost") == Decimal("42.892319795")  # 32 of cash: 30 used and 2 idle
    tokens = [row for row in found if row["consumed_unit"] == "Tokens"]
    assert len(tokens) == 14 and total(tokens, "consumed_quantity") == Decimal("103130808")
    assert {row["model_as_logged"] for row in tokens if row["service_provider"] == "Anthropic, PBC"} == {
        "anthropic.claude-opus-5", "global.anthropic.claude-opus-5",
    }  # fmt: skip
    folder = "nise/aws/bucket/cur/20261001-20261101"
    packed = sample(f"{folder}/9992e4a3-c874-4264-a05c-d4544f307c8d/October-2026-cur.csv.gz")
    legacy, coverage = read(aws_cur.FORMAT, packed, account=None, manifests=[sample(f"{folder}/cur-Manifest.json")])
    assert len(legacy) == 216 and coverage == {("9999999999999", "2026-10", None)}
    assert (total(legacy, "billed_cost"), total(legacy, "effective_cost")) == (Decimal("8358.624"), Decimal("6555.744"))
    final, _ = read(aws_cur.FORMAT, sample("nise/aws/October-2026-cur-finalized.csv"), account=None)
    assert {row["invoice_id"] for row in final} == {"1234567890"} and {row["invoice_id"] for row in legacy} == {None}


def test_aws_lands_by_its_manifest(tmp_path: Path) -> None:
    """The vendor's folders, as an S3 sync leaves them; a refresh overwrites file and manifest."""
    home, con = Home(tmp_path), duckdb.connect()
    sources = SimpleNamespace(billing=[SimpleNamespace(name="aws", format="aws_cur", billing_account_id="acct")])
    data = home.landing / "billing/aws/cur/data/BILLING_PERIOD=2026-10"
    manifest = home.landing / "billing/aws/cur/metadata/BILLING_PERIOD=2026-10/cur-Manifest.json"
    data.mkdir(parents=True)
    manifest.parent.mkdir(parents=True)
    costs = "select sum(billed_cost) from read_parquet(?)"

    def night() -> list[str]:
        report = landing.land(con, home, sources, date(2026, 10, 9), Arrivals(Books(home), con, date(2026, 10, 9)), quiet)
        return [*report.waiting, *map(str, report.refused)]

    def refresh(run: str, cost: str) -> None:
        cur(data, {"line_item_unblended_cost": cost})
        listed = {"exportArn": "arn", "executionId": run, "billingPeriod": {"start": "2026-10-01T00:00:00Z"}}
        manifest.write_text(json.dumps({**listed, "dataFiles": ["s3://bucket/p/cur/data/BILLING_PERIOD=2026-10/cur.csv"]}))

    refresh("20261005T000000Z-1", "10")
    assert night() == []
    cur(data, {"line_item_unblended_cost": "11"})
    assert "cur.csv changed after its manifest was written" in night()[0]
    refresh("20261006T000000Z-2", "11")
    assert night() == []
    found = con.execute("select path, state, lake_file from source_files where state = 'landed' order by seq").fetchall()
    assert [row[0] for row in found] == ["billing/aws/cur/data/BILLING_PERIOD=2026-10/cur.csv"] * 2
    assert [con.execute(costs, [str(home.lake / row[2])]).fetchall()[0][0] for row in found] == [10, 11]
    assert con.execute("select distinct billing_account_id, billing_period, usage_date from bill_coverage").fetchall() == [("acct", "2026-10", None)]


# --- Azure ---------------------------------------------------------------------------------------------------------

AZURE: Row = {
    "Date": "10/05/2026", "SubscriptionId": "s1", "ResourceId": "/r/aoai", "MeterCategory": "Foundry Models", "MeterSubCategory": "Azure OpenAI",
    "MeterId": "m-1", "MeterName": "gpt-4o-0806-Inp-glbl Tokens", "MeterRegion": "eastus", "UnitOfMeasure": "1K", "Quantity": "5200",
    "PayGPrice": "0.003", "CostInBillingCurrency": "11.83", "BillingCurrency": "EUR", "pricingCurrency": "USD",
    "exchangeRatePricingToBilling": "0.91", "ChargeType": "Usage", "PricingModel": "OnDemand", "PublisherType": "Azure",
    "PublisherName": "Microsoft", "ReservationId": "", "ReservationName": "", "BillingPeriodStartDate": "10/01/2026",
    "BillingPeriodEndDate": "10/31/2026", "invoiceId": "", "Tags": '"team": "search"',
}  # fmt: skip


def azure(folder: Path, name: str, *changes: Row) -> Path:
    path = folder / name
    path.write_text("\ufeff" + csv_text([{**AZURE, **change} for change in changes]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "unit", "said"),  # model, meter, tier, tokens of 2 units; None where the bill's own words stay
    [
        ("gpt-4o-0806-Inp-glbl Tokens", "1K", ("gpt-4o-2024-08-06", "input_uncached", None, 2000)),
        ("gpt 4o 0806 cached Inp glbl Tokens", "1K", ("gpt-4o-2024-08-06", "cache_read", None, 2000)),
        ("gpt-4o-0806-Outp-glbl Tokens", "1K", ("gpt-4o-2024-08-06", "output", None, 2000)),
        ("GPT 5 Inpt Glbl 1M Tokens", "1M", ("gpt-5", "input_uncached", None, 2_000_000)),
        ("5.6 sol ShortCo Cd Wr Std Gl 1M Tokens", "1M", ("gpt-5.6-sol", "cache_write_5m", None, 2_000_000)),
        ("GPT 5 Batch Outp Data Zone 1M Tokens", "1M", ("gpt-5", "output", "batch", 2_000_000)),
        ("gpt 4o mini 0718 Aud Inp regnl Tokens", "1K", ("gpt-4o-mini-2024-07-18", "audio_input", None, 2000)),
        ("gpt-4o-0806-Inp-glbl Tokens", "100 Hours", None),
        ("gpt 4o 0806 Tokens", "1K", None),
        ("gpt image 1 img Inp Tokens", "1K", None),
        ("Provisioned Managed Global Unit", "1/Hour", None),
        ("Claude Consumption Units", "1", None),
    ],
)
def test_azure_meter_names(tmp_path: Path, name: str, unit: str, said: tuple[Any, ...] | None) -> None:
    (row,), _ = read(azure_cost.FORMAT, azure(tmp_path, "cost.csv", {"MeterName": name, "UnitOfMeasure": unit, "Quantity": "2"}))
    if said is None:
        assert (row["sku_meter"], row["consumed_quantity"], row["consumed_unit"]) == (name, 2, unit)
    else:
        assert (row["model_as_logged"], row["sku_meter"], row["service_tier"], row["consumed_quantity"]) == said
        assert row["consumed_unit"] == "Tokens"


RESERVED = {"MeterName": "Provisioned Managed Global Unit", "UnitOfMeasure": "1/Hour", "PricingModel": "Reservation", "ReservationId": "r-1"}
BOUGHT = {**RESERVED, "MeterName": "PTU Monthly", "ChargeType": "Purchase", "Quantity": "50", "CostInBillingCurrency": "1000"}


def test_azure_actual_is_billed_and_amortized_is_effective(tmp_path: Path) -> None:
    returned = {**BOUGHT, "Quantity": "-5", "CostInBillingCurrency": "-100"}
    actual = azure(tmp_path, "c-actual.csv", {}, {**RESERVED, "CostInBillingCurrency": "0"}, BOUGHT, returned)
    idle = {**RESERVED, "ChargeType": "UnusedReservation", "Quantity": "1", "CostInBillingCurrency": "9.5"}
    amortized = azure(tmp_path, "c-amortized.csv", {}, {**RESERVED, "Quantity": "10", "CostInBillingCurrency": "20.5"}, idle)
    rows, coverage = read(azure_cost.FORMAT, actual, amortized)
    assert coverage == {("acct", "2026-10", None)} and len(rows) == 7
    assert total(rows, "billed_cost") == Decimal("911.83") and total(rows, "effective_cost") == Decimal("41.83")
    tokens = [row for row in rows if row["sku_meter"] == "input_uncached"]
    assert total(tokens, "consumed_quantity") == 5_200_000  # once, not twice
    assert [(row["billed_cost"], row["effective_cost"]) for row in tokens] == [(Decimal("11.83"), 0), (0, Decimal("11.83"))]
    assert total(tokens, "list_cost") == Decimal("14.196") and {row["billing_currency"] for row in rows} == {"EUR"}
    assert [row["charge_description"] for row in rows if row["charge_description"].startswith("Unused")] == [
        "UnusedReservation: Azure OpenAI: Provisioned Managed Global Unit"
    ]
    september = {"Date": "09/30/2026", "BillingPeriodStartDate": "09/01/2026", "BillingPeriodEndDate": "09/30/2026"}
    text = refusal(azure_cost.FORMAT, actual, azure(tmp_path, "d-amortized.csv", september))
    assert "actual cost is of 2026-10, amortized cost of 2026-09" in text


def test_azure_alone_is_billed_when_bought(tmp_path: Path) -> None:
    rows, _ = read(azure_cost.FORMAT, azure(tmp_path, "cost.csv", {}, BOUGHT))
    assert total(rows, "billed_cost") == total(rows, "effective_cost") == Decimal("1011.83")
    idle = {**RESERVED, "ChargeType": "UnusedReservation"}
    assert "amortized cost alone" in refusal(azure_cost.FORMAT, azure(tmp_path, "cost.csv", {}, idle))


def test_azure_lands_both_datasets_as_one_delivery(tmp_path: Path) -> None:
    home, con = Home(tmp_path), duckdb.connect()
    sources = SimpleNamespace(billing=[SimpleNamespace(name="azure", format="azure_cost", billing_account_id="acct")])

    def night() -> list[str]:
        report = landing.land(con, home, sources, date(2026, 10, 9), Arrivals(Books(home), con, date(2026, 10, 9)), quiet)
        return [*report.waiting, *map(str, report.refused)]

    for number, (word, type_) in enumerate((("actual", "ActualCost"), ("amortized", "AmortizedCost"))):
        folder = home.landing / f"billing/azure/{word}/20261001-20261031/0a1b2c3d-1111-4222-8333-44445555666{number}"
        folder.mkdir(parents=True)
        path = azure(folder, "part_0_0001.csv", {})
        assert any(word in line and "no manifest lists it" in line for line in night())
        manifest = {
            "exportConfig": {"exportName": word, "type": type_},
            "runInfo": {"startDate": "2026-10-01T00:00:00", "submittedTime": "2026-10-09T01:00:00Z"},
            "blobs": [{"blobName": f"root/{word}/20261001-20261031/run/part_0_0001.csv", "byteCount": path.stat().st_size}],
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        if word == "actual":
            assert "its amortized cost is not here yet" in night()[0]
    assert night() == []
    (lake,) = con.execute("select lake_file from source_files where state = 'landed'").fetchall()
    found = con.execute("select sum(billed_cost), sum(effective_cost) from read_parquet(?)", [str(home.lake / lake[0])]).fetchall()
    assert found == [(Decimal("11.83"), Decimal("11.83"))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CostInBillingCurrency": "11,83"}, "record 2: costinbillingcurrency is not a number: 11,83"),
        ({"Date": "31/10/2026"}, "date is not a day (MM/DD/YYYY): 31/10/2026"),
        ({"ChargeType": "Gift"}, "unknown ChargeType: Gift"),
        ({"BillingCurrency": "EURO"}, "unknown currency: EURO"),
        ({"BillingPeriodEndDate": "09/01/2026"}, "the billing period ends before it starts"),
    ],
)
def test_azure_is_refused_whole(tmp_path: Path, change: Row, words: str) -> None:
    assert words in refusal(azure_cost.FORMAT, azure(tmp_path, "cost.csv", {}, change, {}))


def test_azure_needs_an_account(tmp_path: Path) -> None:
    path = azure(tmp_path, "cost.csv", {})
    assert "add billing_account_id" in refusal(azure_cost.FORMAT, path, account=None)
    path = azure(tmp_path, "cost.csv", {"BillingAccountId": "b"})
    assert read(azure_cost.FORMAT, path, account=None)[1] == {("b", "2026-10", None)}
    assert "another billing account" in refusal(azure_cost.FORMAT, path)


def test_azure_samples(tmp_path: Path) -> None:
    actual, amortized = (sample(f"billing/azure/cost_details_{name}.csv") for name in ("actual", "amortized"))
    rows, coverage = read(azure_cost.FORMAT, actual, amortized)
    assert total(rows, "billed_cost") == Decimal("12993.40315") and total(rows, "effective_cost") == Decimal("1552.37355")
    assert {row["model_as_logged"] for row in rows} == {None, "gpt-4o-2024-08-06", "gpt-5", "gpt-5.6-sol"}
    assert coverage == {("acct", "2026-10", None)}
    plain = tmp_path / "cost.csv"
    plain.write_bytes(actual.read_bytes())
    assert total(read(azure_cost.FORMAT, plain)[0], "effective_cost") == Decimal("12993.40315")
    (report,) = sample("nise/azure").glob("*.csv")
    rows, coverage = read(azure_cost.FORMAT, report, account=None)
    assert len(rows) == 4 and total(rows, "billed_cost") == Decimal("0.24") and coverage == {("19768250", "2026-10", None)}
    assert {row["sku_meter"] for row in rows} == {"gpt-4o-0806-Inp-glbl Tokens"}  # counted in hours: no tokens


# --- Google Cloud --------------------------------------------------------------------------------------------------

GCP: Row = {
    "billing_account_id": "acct", "service": {"id": "C7", "description": "Vertex AI"},
    "sku": {"id": "7E", "description": "Gemini 2.5 Flash GA Text Input - Predictions"},
    "usage_start_time": "2026-10-31T23:00:00Z", "usage_end_time": "2026-11-01T00:00:00Z", "project": {"id": "p", "name": "Project of a person"},
    "labels": [{"key": "team", "value": "search"}], "location": {"region": "us-central1"}, "cost": 15.36, "currency": "USD",
    "usage": {"amount": 51200000, "unit": "count"}, "credits": [], "invoice": {"month": "202610"}, "cost_type": "regular",
    "cost_at_list": 16, "seller_name": "Google LLC", "resource": {"name": None},
}  # fmt: skip


def gcp(folder: Path, *changes: Row) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({**GCP, **change}) + "\n" for change in changes))
    return path


def sku(text: str) -> Row:
    return {"sku": {"id": "x", "description": text}}


@pytest.mark.parametrize(
    ("text", "said"),  # model, meter, tier; no meter: the bill's own words
    [
        ("Gemini 2.5 Flash GA Text Input - Predictions", ("gemini-2.5-flash", "input_uncached", None)),
        ("Gemini 2.5 Flash GA Text Output - Predictions", ("gemini-2.5-flash", "output", None)),
        ("Gemini 2.5 Flash Thinking Text Output - Predictions", ("gemini-2.5-flash", "output", None)),
        ("Gemini 2.5 Flash GA Text Input Caching", ("gemini-2.5-flash", "cache_read", None)),
        ("Gemini 2.5 Flash Input Text Caching Storage", ("gemini-2.5-flash", None, None)),
        ("Gemini 2.5 Pro Text Input (Long) - Predictions", ("gemini-2.5-pro", "input_uncached", None)),
        ("Gemini 2.5 Flash Lite GA Text Input - Batch Predictions", ("gemini-2.5-flash-lite", "input_uncached", "batch")),
        ("Gemini 2.5 Flash Audio Input - Predictions", ("gemini-2.5-flash", "audio_input", None)),
        ("Gemini 2.5 Flash Image Input - Predictions", ("gemini-2.5-flash", None, None)),
        ("N1 Predefined Instance Core", (None, None, None)),
    ],
)
def test_gcp_skus(tmp_path: Path, text: str, said: tuple[str | None, ...]) -> None:
    (row, other), _ = read(gcp_billing.FORMAT, gcp(tmp_path, sku(text), {**sku(text), "usage": {"amount": 7, "unit": "h"}}))
    model, meter, tier = said
    assert (row["model_as_logged"], row["sku_meter"], row["service_tier"]) == (model, meter or text, tier)
    assert (row["consumed_quantity"], row["consumed_unit"]) == (51_200_000, "Tokens" if meter else "count")
    assert (other["sku_meter"], other["consumed_quantity"], other["consumed_unit"]) == (text, 7, "h")  # hours are no tokens


def test_gcp_every_credit_counts_once(tmp_path: Path) -> None:
    credits = [
        {"type": "COMMITTED_USAGE_DISCOUNT", "name": "cud", "amount": -3.07},
        {"type": "PROMOTION", "name": "Startup promo", "amount": "-2.00"},
        {"type": "SUSTAINED_USAGE_DISCOUNT", "name": "sud", "amount": -0.29},
        {"type": "BRAND_NEW", "name": "gift", "amount": -1e-7},
    ]
    rows, _ = read(gcp_billing.FORMAT, gcp(tmp_path, {"credits": credits}, {}))
    found = [(row["source_row"], row["charge_category"], row["billed_cost"], row["contracted_cost"], row["list_cost"]) for row in rows]
    assert found == [
        (1, "Usage", 12, Decimal("15.36"), 16),
        (2, "Usage", Decimal("15.36"), Decimal("15.36"), 16),
        (3, "Credit", -2, -2, -2),
        (4, "Credit", *[Decimal("-1e-7")] * 3),
    ]
    assert rows[2]["charge_description"] == "Startup promo (PROMOTION) of row 1"
    assert rows[3]["charge_description"] == "gift (BRAND_NEW) of row 1"


def test_gcp_days_are_pacific_and_months_are_the_invoice(tmp_path: Path) -> None:
    starts = {
        "2026-11-01T06:59:00Z": date(2026, 10, 31),  # daylight saving: seven hours
        "2026-11-01T07:00:00Z": date(2026, 11, 1),
        "2026-11-02T07:59:00Z": date(2026, 11, 1),  # from the same day on eight
        "2026-11-02T08:00:00": date(2026, 11, 2),
        "2026-11-02 08:00:00 UTC": date(2026, 11, 2),
    }
    rows, coverage = read(
        gcp_billing.FORMAT,
        gcp(tmp_path, *({"usage_start_time": start, "usage_end_time": "2026-11-03T00:00:00Z", "invoice": {"month": "202611"}} for start in starts)),
    )
    assert [row["usage_date"] for row in rows] == list(starts.values())
    assert {(row["billing_period"], row["billing_period_start"], row["billing_period_end"]) for row in rows} == {
        ("2026-11", date(2026, 11, 1), date(2026, 12, 1))
    }
    assert coverage == {("acct", "2026-11", None)}


@pytest.mark.parametrize(
    ("type_", "start", "said"),
    [
        ("tax", "2026-10-31T23:00:00Z", ("Tax", None)),
        ("rounding_error", "2026-10-31T23:00:00Z", ("Adjustment", None)),
        ("adjustment", "2026-10-12T23:00:00Z", ("Adjustment", None)),
        ("adjustment", "2026-09-12T23:00:00Z", ("Adjustment", "Correction")),
    ],
)
def test_gcp_cost_types(tmp_path: Path, type_: str, start: str, said: tuple[str | None, ...]) -> None:
    (row,), _ = read(gcp_billing.FORMAT, gcp(tmp_path, {"cost_type": type_, "usage_start_time": start, "cost": "-0.01"}))
    assert (row["charge_category"], row["charge_class"]) == said
    assert row["billed_cost"] == row["list_cost"] == Decimal("-0.01") and row["consumed_quantity"] is None


def flat(row: Row, credits: str) -> Row:
    """A row as CSV says it: dotted names, credits as text."""
    said = {f"{name}.{key}": value for name, inner in row.items() if isinstance(inner, dict) for key, value in inner.items()}
    return {**{name: value for name, value in row.items() if not isinstance(value, dict | list)}, **said, "credits": credits}


def test_gcp_csv_with_credits_as_json_or_python(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    texts = [
        "[{'name': \"Somebody's\", 'amount': -2.500000000000000000001, 'full_name': None, 'id': 'F', 'type': 'PROMOTION'}]",
        '[{"name": "x", "amount": -0.1, "type": "DISCOUNT"}, {"amount": 1e-3, "type": "DISCOUNT"}]',
        "[]",
        "",
    ]
    path.write_text(csv_text([flat(GCP, text) for text in texts]))
    rows, _ = read(gcp_billing.FORMAT, path)
    assert [row["billed_cost"] for row in rows] == [Decimal(text) for text in ("15.36", "15.261", "15.36", "15.36", "-2.5")]
    assert rows[4]["discarded_cost"] == Decimal("-1e-21")


BROKEN_CREDITS = [
    "[{'amount': nan}]", "[{'amount': True}]", "[{'amount': -1", "{'amount': 1}", "7", "[7]", "[{}]", "__import__('os')", "[" * 5000,
    "[{'amount': 1e99999999999}]", "[{'amount': '-'}]", "[{'amount': 1+1}]", "[{'amount': 1_000}]", "x" * 70_000, "['\\ud800']",
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN_CREDITS, ids=range(len(BROKEN_CREDITS)))
def test_gcp_credits_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(csv_text([flat(GCP, "[]"), flat(GCP, text)]))
    assert "rows.csv record 2: " in refusal(gcp_billing.FORMAT, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cost": "NaN"}, "record 2: cost is not a number: NaN"),
        ({"cost": None}, "cost is empty"),
        ({"currency": "EURO"}, "unknown currency: EURO"),
        ({"cost_type": "gift"}, "unknown cost_type: gift"),
        ({"invoice": {"month": "2026-10"}}, "invoice.month is not a month"),
        ({"usage_start_time": "31.10.2026"}, "usage_start_time is not a time"),
        ({"usage_end_time": "2026-10-01T00:00:00Z"}, "the usage ends before it starts"),
        ({"billing_account_id": "other"}, "another billing account"),
        ({"credits": [{"amount": None}]}, "credits that cannot be read"),
    ],
)
def test_gcp_is_refused_whole(tmp_path: Path, change: Row, words: str) -> None:
    assert words in refusal(gcp_billing.FORMAT, gcp(tmp_path, {}, change, {}))


def test_gcp_refuses_what_is_no_export(tmp_path: Path) -> None:
    path = gcp(tmp_path, {})
    good = path.read_text()
    for line in ('{"a": NaN}', "[1]", '"x"', "{", '{"cost": "1"}', good.replace("Vertex AI", "\\ud800").strip(), "[" * 100_000):
        path.write_text(good + line + "\n")
        assert "rows.jsonl record 2: not a row of the export" in refusal(gcp_billing.FORMAT, path)
    table = tmp_path / "rows.csv"
    whole = csv_text([flat(GCP, "[]")])
    for text, said in (
        (whole.replace("invoice.month", "invoice_month"), "column invoice.month is missing"),
        (whole + "1,2\n", "record 2: 2 values under"),
        (whole.replace("acct", '"ac"ct'), "not CSV"),
    ):
        table.write_text(text)
        assert said in refusal(gcp_billing.FORMAT, table)


def test_gcp_samples() -> None:
    rows, coverage = read(gcp_billing.FORMAT, sample("billing/gcp/detailed_export.jsonl"), account=None)
    assert len(rows) == 9 and total(rows, "billed_cost") == Decimal("25.112")
    assert coverage == {("0123AB-456DEF-123ABC", month, None) for month in ("2026-10", "2026-11")}
    (path,) = sample("nise/gcp").glob("*.csv")
    rows, _ = read(gcp_billing.FORMAT, path, account=None)
    assert len(rows) == 144 and total(rows, "billed_cost") == Decimal("6161.76")
    assert total([row for row in rows if row["charge_category"] == "Credit"], "billed_cost") == -180


# --- the sample company's bills, in the clouds' own formats --------------------------------------------------------

DELIVERIES = bill_deliveries(Truth.make(scale=0.02))
NAMES = {"amazon.nova-pro-v1:0": "NovaPro", "amazon.nova-lite-v1:0": "NovaLite"}
BEDROCK = {"input_uncached": "input-tokens", "cache_read": "cache-read-input-token-count", "output": "output-tokens"}
AWS_TYPES = {"Usage": "Usage", "Purchase": "Fee", "Tax": "Tax", "Credit": "Credit"}


def lines_of(provider: str) -> tuple[BillLine, ...]:
    return [delivery for delivery in DELIVERIES if delivery.provider == provider][-1].lines


def cur_row(line: BillLine) -> Row:
    tokens = line.model is not None
    return {
        **CUR,
        "bill_payer_account_id": line.billing_account_id,
        "bill_billing_period_start_date": f"{line.month}-01T00:00:00.000Z",
        "bill_billing_period_end_date": f"{line.start.replace(day=28) + timedelta(days=5):%Y-%m}-01T00:00:00.000Z",
        "line_item_usage_account_id": line.sub_account_id,
        "line_item_line_item_type": AWS_TYPES[line.category],
        "line_item_line_item_description": line.description,
        "line_item_usage_start_date": f"{line.start:%Y-%m-%dT%H:%M:%S}.000Z",
        "line_item_usage_end_date": f"{line.end:%Y-%m-%dT%H:%M:%S}.000Z",
        "line_item_product_code": "AmazonBedrock" if tokens else line.service,
        "line_item_usage_type": f"USE1-{NAMES[line.model]}-{BEDROCK[line.meter or '']}" if line.model else line.meter or "",
        "line_item_resource_id": line.resource_id or "",
        "line_item_usage_amount": "" if line.quantity is None else f"{line.quantity / 1000 if tokens else line.quantity:f}",
        "line_item_unblended_cost": f"{line.billed_cost:f}",
        "pricing_unit": "1K tokens" if tokens else line.unit or "",
        "pricing_public_on_demand_cost": f"{line.list_cost:f}",
        "product_product_name": line.service,
    }


GEMINI = {"input_uncached": "Text Input - Predictions", "cache_read": "Text Input Caching", "output": "Text Output - Predictions"}


def gcp_row(line: BillLine) -> Row:
    """At list price, and the difference to ours as a discount."""
    assert line.model and line.meter
    pacific = ZoneInfo("America/Los_Angeles")
    start, end = (datetime(at.year, at.month, at.day, tzinfo=pacific).astimezone(UTC) for at in (line.start, line.end))
    text = f"{line.model.replace('-', ' ').title()} GA {GEMINI[line.meter]}"
    return {
        **GCP,
        **sku(text.replace(" -", " (Long) -") if line.long and " -" in text else f"{text} (Long)" if line.long else text),
        "billing_account_id": line.billing_account_id,
        "service": {"id": "C7", "description": line.service},
        "usage_start_time": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "usage_end_time": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "project": {"id": line.sub_account_id},
        "location": {"region": line.region},
        "cost": f"{line.list_cost:f}",
        "cost_at_list": f"{line.list_cost:f}",
        "usage": {"amount": f"{line.quantity:f}", "unit": "count"},
        "credits": [{"type": "DISCOUNT", "name": "contract", "amount": f"{line.billed_cost - line.list_cost:f}"}],
        "invoice": {"month": line.month.replace("-", "")},
    }


def told(rows: list[Row]) -> dict[tuple[Any, ...], tuple[Decimal, ...]]:
    """Money and quantity by day, account, service, category, model and meter."""
    sums: dict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 4)
    for row in rows:
        key = tuple(
            row[name]
            for name in (
                "usage_date", "billing_period", "billing_account_id", "sub_account_id", "charge_category", "service",
                "model_as_logged", "sku_meter", "consumed_unit", "billing_currency",
            )
        )  # fmt: skip
        whole = row["billed_cost"] + row["discarded_cost"]
        values = whole, row["effective_cost"], row["list_cost"], row["consumed_quantity"] or Decimal(0)
        sums[key] = [have + value for have, value in zip(sums[key], values, strict=True)]
    return {key: tuple(values) for key, values in sums.items()}


def in_focus(folder: Path, lines: Iterable[BillLine]) -> list[Row]:
    path = folder / "focus.csv"
    path.write_bytes(focus_writer.write(lines, "1.2"))
    return read(focus.FORMAT, path, account=None)[0]


def test_a_month_of_aws_is_the_same_in_both_formats(tmp_path: Path) -> None:
    lines = lines_of("aws")
    path = tmp_path / "cur.csv"
    path.write_text(csv_text([cur_row(line) for line in lines]))
    found, as_focus = told(read(aws_cur.FORMAT, path, account=None)[0]), told(in_focus(tmp_path, lines))
    assert len(found) > 100 and {key[6] for key in found} == {None, *NAMES} and found == as_focus


def test_a_month_of_google_is_the_same_in_both_formats(tmp_path: Path) -> None:
    lines = lines_of("google")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(gcp_row(line)) + "\n" for line in lines))
    found, as_focus = told(read(gcp_billing.FORMAT, path, account=None)[0]), told(in_focus(tmp_path, lines))
    assert len(found) > 50 and any(line.long for line in lines) and found == as_focus
    table = tmp_path / "rows.csv"
    table.write_text(csv_text([flat(row, repr(row["credits"])) for row in map(gcp_row, lines)]))
    assert told(read(gcp_billing.FORMAT, table, account=None)[0]) == as_focus


# --- FOCUS, in the vendors' own words ------------------------------------------------------------------------------

FOCUS: Row = {
    "BilledCost": "1", "EffectiveCost": "1", "BillingAccountId": "acct", "BillingCurrency": "USD", "BillingPeriodStart": "2026-10-01T00:00:00Z",
    "BillingPeriodEnd": "2026-11-01T00:00:00Z", "ChargeCategory": "Usage", "ChargePeriodStart": "2026-10-05T00:00:00Z",
    "ChargePeriodEnd": "2026-10-06T00:00:00Z", "ServiceName": "", "ServiceProviderName": "", "SkuMeter": "", "ConsumedQuantity": "2",
    "ConsumedUnit": "", "x_UsageType": "", "x_SkuMeterName": "", "SkuPriceDetails": "", "CredentialId": "key-1", "PrincipalId": "person-1",
}  # fmt: skip
EDITION = "Claude Opus 5 (Amazon Bedrock Edition)"


@pytest.mark.parametrize(
    ("change", "said"),  # model, meter, tier, quantity, unit
    [
        (
            {"ServiceName": "Amazon Bedrock", "x_UsageType": "USE1-NovaLite-output-tokens-flex", "ConsumedUnit": "1K tokens"},
            ("amazon.nova-lite-v1:0", "output", "flex", 2000, "Tokens"),
        ),
        (
            {"ServiceName": EDITION, "x_UsageType": "USE1-MP:USE1_input_tokens_standard-Units", "ConsumedUnit": "Units"},
            ("anthropic.claude-opus-5", "input_uncached", None, 2_000_000, "Tokens"),
        ),
        (
            {"ServiceName": "Amazon Bedrock", "x_UsageType": "USE1-Guardrail-Units", "ConsumedUnit": "Units"},
            (None, "USE1-Guardrail-Units", None, 2, "Units"),
        ),
        (
            {"ServiceProviderName": "Microsoft", "ServiceName": "Foundry Models", "x_SkuMeterName": "gpt 4o 0513 Input global Tokens", "ConsumedUnit": "1K Tokens"},
            ("gpt-4o-2024-05-13", "input_uncached", None, 2000, "Tokens"),
        ),
        (  # how many tokens a unit is does not stand there
            {"ServiceProviderName": "Microsoft", "ServiceName": "Foundry Models", "SkuMeter": "gpt 4o 0513 Input global Tokens", "ConsumedUnit": "Units"},
            ("gpt-4o-2024-05-13", "gpt 4o 0513 Input global Tokens", None, 2, "Units"),
        ),
        (
            {"ServiceProviderName": "Other", "ServiceName": "GPU cloud", "SkuMeter": "H100 Hours", "ConsumedUnit": "GPU-Hours"},
            (None, "H100 Hours", None, 2, "GPU-Hours"),
        ),
        (  # 1.5 names the model: nothing is looked up
            {
                "ServiceName": "Amazon Bedrock", "x_UsageType": "USE1-NovaLite-output-tokens", "ConsumedUnit": "Tokens", "SkuMeter": "Cache Read Input Tokens",
                "SkuPriceDetails": '{"ModelId": "m-1", "TokenDirection": "Input", "TokenCacheAction": "Read", "ServingScope": "Global"}',
            },
            ("m-1", "cache_read", None, 2, "Tokens"),
        ),
    ],
)  # fmt: skip
def test_focus_in_the_words_of_the_vendor(tmp_path: Path, change: Row, said: tuple[Any, ...]) -> None:
    path = tmp_path / "focus.csv"
    path.write_text(csv_text([{**FOCUS, "ServiceProviderName": "AWS", **change}]))
    (row,), _ = read(focus.FORMAT, path)
    assert tuple(row[name] for name in ("model_as_logged", "sku_meter", "service_tier", "consumed_quantity", "consumed_unit")) == said
    assert row["api_key_id"] == "key-1" and "person-1" not in row.values()


def test_focus_without_cost_is_refused(tmp_path: Path) -> None:
    """Usage-only exports need a rate card of their own; nothing here is made zero."""
    path = tmp_path / "focus.csv"
    path.write_text(csv_text([{**FOCUS, "ServiceName": "GPU", "ServiceProviderName": "CoreWeave", "BilledCost": ""}]))
    assert "BilledCost is empty" in refusal(focus.FORMAT, path)
    path.write_text(csv_text([{name: value for name, value in FOCUS.items() if name != "BilledCost"}]))
    assert "column BilledCost is missing" in refusal(focus.FORMAT, path)


def test_focus_samples_to_the_last_digit() -> None:
    path = sample("focus/focus_1_0_sample_1k.csv")
    rows, coverage = read(focus.FORMAT, path, account=None)  # Oracle's lines are of two months
    assert (len(rows), total(rows, "billed_cost"), total(rows, "effective_cost")) == (1000, Decimal("20.52022672899"), Decimal("14.97651418586"))
    assert {row["service_provider"] for row in rows} == {"AWS", "Microsoft", "Oracle"} and len(coverage) == 4
    draft = sample("focus/spec_1_5_draft_ai/drawdown_via_prepayment_ai_model_api.csv")
    rows, _ = read(focus.FORMAT, draft, account=None)
    assert (total(rows, "billed_cost"), total(rows, "effective_cost")) == (500_000, 50)
    assert [(row["model_as_logged"], row["consumed_quantity"], row["api_key_id"]) for row in rows[1:]] == [
        ("solora-saturn-5.0", 5_000_000, "key_05SOLORASUPPLY"),
        ("solora-saturn-5.0", 1_500_000, "key_05SOLORASUPPLY"),
    ]


# --- damage --------------------------------------------------------------------------------------------------------

WRITERS = {
    "aws": (aws_cur.FORMAT, lambda folder, cost: cur(folder, {}, {"line_item_unblended_cost": cost}, {})),
    "azure": (azure_cost.FORMAT, lambda folder, cost: azure(folder, "cost.csv", {}, {"CostInBillingCurrency": cost}, {})),
    "gcp": (gcp_billing.FORMAT, lambda folder, cost: gcp(folder, {}, {"cost": cost}, {})),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("text", ["1e400", "NaN", "-Infinity", "1_000", "１２", "0x10", "--1", "1e9999999999", "٣", "1e", "∞", "9" * 40])
def test_numbers_that_are_none_are_refused(tmp_path: Path, name: str, text: str) -> None:
    format_, write = WRITERS[name]
    assert " record 2: " in refusal(format_, write(tmp_path, text))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("text", ["1e-7", "-0", "+1.50", ".5", "1E+3", "0E-6176", "0.1234567890125000000000000000001"])
def test_numbers_are_read_exactly(tmp_path: Path, name: str, text: str) -> None:
    format_, write = WRITERS[name]
    row = read(format_, write(tmp_path, text))[0][1]
    assert abs(row["billed_cost"] + row["discarded_cost"] - Decimal(text)) < Decimal("1e-30")
    assert abs(row["discarded_cost"]) <= Decimal("5e-13")


NASTY = ["\u202e", "\ufeff", "🧾", "\ud7ff", "é", '"', "'", ",", "\r\n", "\\", "{", "]", "NULL", "%s", "'; drop table parsed; --", "0" * 60]


@pytest.mark.parametrize("name", WRITERS)
def test_damage_is_refused_in_one_line_or_read(tmp_path: Path, name: str) -> None:
    """What landing turns into a refusal is a `Refused` or an error of the engine, never anything else."""
    format_, write = WRITERS[name]
    path = write(tmp_path, "1.5")
    good = path.read_bytes()
    dice = random.Random(20261005)
    refused = 0
    con = duckdb.connect(config={"threads": 1})
    for n in range(120):
        at = dice.randrange(len(good))
        damaged = good[:at] if n % 3 == 0 else good[:at] + dice.choice(NASTY).encode() + good[at + dice.randrange(3) :]
        if n % 3 == 2:
            damaged = good[:at] + bytes([dice.randrange(1, 256)]) + good[at + 1 :]
        path.write_bytes(damaged)
        try:
            for row in read(format_, path, known=con)[0]:
                assert row["billed_cost"] is not None and row["usage_date"] is not None and row["billing_period"]
        except Refused as error:
            refused += 1
            assert "\n" not in str(error)
        except duckdb.Error:
            refused += 1
    assert refused > 20


def test_bedrock_meanings_hold_for_any_text() -> None:
    dice = random.Random(7)
    words = ["USE1-", "Claude", "-", "input", "tokens", "batch", "cache", "write", "_", "MP:", "Units", "\u202e", "1h", "T2I", "", "global"]
    for _ in range(3000):
        usage = "".join(dice.choice(words) for _ in range(dice.randrange(12)))
        for product in (None, "", "X (Amazon Bedrock Edition)"):
            found = bedrock.meaning(usage, product)
            assert found.meter is None or found.model


# --- types that drift ----------------------------------------------------------------------------------------------


def in_parquet(folder: Path, rows: list[dict[str, Any]], **types: str) -> Path:
    """The rows with these columns as such SQL makes them, the others as text."""
    (folder / "made.csv").write_text(csv_text(rows))
    changed = ", ".join(f'{sql} as "{name}"' for name, sql in types.items())
    with duckdb.connect() as con:
        con.execute(
            f"copy (select * replace ({changed}) from read_csv('{folder}/made.csv', all_varchar = true))"
            f" to '{folder}/made.parquet' (format parquet)"
        )
    return folder / "made.parquet"


@pytest.mark.parametrize(
    ("name", "sql", "found", "promised"),
    [
        ("line_item_unblended_cost", "true", "BOOLEAN", "number"),
        ("line_item_unblended_cost", "[10.0::double]", "DOUBLE[]", "number"),
        ("line_item_unblended_cost", "date '2026-10-05'", "DATE", "number"),
        ("line_item_usage_start_date", "20261005", "INTEGER", "time"),
        ("bill_payer_account_id", "111122223333::double", "DOUBLE", "text"),
        ("line_item_usage_type", "{'usage': line_item_usage_type}", "STRUCT(usage VARCHAR)", "text"),
        ("line_item_resource_id", "'x'::blob", "BLOB", "text"),
        ("product", "7", "INTEGER", "object"),
    ],
)
def test_another_type_in_parquet_is_refused_with_the_difference(tmp_path: Path, name: str, sql: str, found: str, promised: str) -> None:
    path = in_parquet(tmp_path, [CUR], **{name: sql})
    assert f"column {name}: expected {promised}, found {found};" in refusal(aws_cur.FORMAT, path)


def test_every_type_that_says_the_same_is_read(tmp_path: Path) -> None:
    types = {
        "line_item_unblended_cost": "line_item_unblended_cost::decimal(18, 2)", "line_item_usage_amount": "2", "bill_invoice_id": "null::integer",
        "bill_payer_account_id": "'acct'::enum('acct')", "line_item_usage_start_date": "line_item_usage_start_date::timestamptz",
        "reservation_reservation_arn": "null::double[]", "product": "map([], [])::map(varchar, varchar)",
    }  # fmt: skip
    rows, coverage = read(aws_cur.FORMAT, in_parquet(tmp_path, [CUR], **types))
    assert (rows, coverage) == read(aws_cur.FORMAT, cur(tmp_path, {}))
    for format_, row, name, sql in ((azure_cost.FORMAT, AZURE, "CostInBillingCurrency", "true"), (focus.FORMAT, None, "BilledCost", "[1]")):
        if row is None:
            row = focus_writer.row(lines_of("aws")[0], "1.2")
        assert f"column {name}: expected number, found " in refusal(format_, in_parquet(tmp_path, [row], **{name: sql}))


@pytest.mark.parametrize("format_", [aws_cur.FORMAT, azure_cost.FORMAT, focus.FORMAT], ids=lambda found: found.name)
def test_one_blank_value_too_many_is_refused(tmp_path: Path, format_: Format) -> None:
    """A comma that nobody quoted moves every value behind it; where the last column is blank, only the width of the row tells."""
    path = tmp_path / "bill.csv"
    rows = {"aws_cur": CUR, "azure_cost": AZURE, "focus": focus_writer.row(lines_of("aws")[0], "1.2")}[format_.name]
    header, line, *_ = csv_text([rows]).splitlines()
    path.write_text(f"{header},x_last\n{line},\n{line},,\n")
    assert f"record 2: {len(rows) + 2} values under {len(rows) + 1} columns" in refusal(format_, path)
    path.write_text(f'{header},x_last\n{line},"of two\nlines"\n{line},\n')
    assert len(read(format_, path, account="acct" if format_ is azure_cost.FORMAT else None)[0]) == 2


def test_bills_say_what_nobody_used_of_a_commitment(tmp_path: Path) -> None:
    fee = {"line_item_line_item_type": "SavingsPlanRecurringFee", "savings_plan_total_commitment_to_date": "10", "savings_plan_used_commitment": "9.25"}
    covered = {"line_item_line_item_type": "SavingsPlanCoveredUsage", "savings_plan_savings_plan_effective_cost": "4"}
    assert [row["commitment_status"] for row in read(aws_cur.FORMAT, cur(tmp_path, fee, covered, {}))[0]] == ["Unused", None, None]
    row = {name: value for name, value in focus_writer.row(lines_of("aws")[0], "1.2").items() if not name.startswith("CommitmentDiscount")}
    path = tmp_path / "focus.csv"
    path.write_text(csv_text([{**row, "CommitmentDiscountStatus": said} for said in ("Unused", "Used", "")]))
    assert [row["commitment_status"] for row in read(focus.FORMAT, path, account=None)[0]] == ["Unused", "Used", None]
