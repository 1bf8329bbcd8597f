"""FOCUS Cost and Usage in three versions (1.0, 1.2, 1.4), as CSV or Parquet.

1.0 has no meter columns (the model and the meter are in the description and in the vendor's own columns), writes
`NULL` for nothing and times with a space; 1.4 names the seller `ServiceProviderName`. Costs are exact decimals.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import duckdb

from pipelines.sample.bills import month_bounds
from pipelines.sample.company import BILLED_AS
from pipelines.sample.truth import TOKEN_METERS, BillLine

Version = Literal["1.0", "1.2", "1.4"]
Encoding = Literal["csv", "parquet"]
Value = str | Decimal | datetime | None


def _words(text: str) -> list[str]:
    return text.split()


COMMON = _words(
    "AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd BillingPeriodStart "
    "ChargeCategory ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd ChargePeriodStart "
    "CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountStatus "
    "CommitmentDiscountType ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost "
    "InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingQuantity PricingUnit RegionId RegionName ResourceId "
    "ResourceName ResourceType ServiceCategory ServiceName SkuId SkuPriceId SubAccountId SubAccountName Tags"
)
SELLER_UNTIL_1_2 = ["ProviderName", "PublisherName"]
SINCE_1_2 = _words(
    "BillingAccountType CapacityReservationId CapacityReservationStatus CommitmentDiscountQuantity CommitmentDiscountUnit "
    "InvoiceId PricingCurrency PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost "
    "PricingCurrencyListUnitPrice ServiceSubcategory SkuMeter SkuPriceDetails SubAccountType"
)
SINCE_1_4 = _words(
    "AllocatedMethodDetails AllocatedMethodId AllocatedResourceId AllocatedResourceName AllocatedTags "
    "CommitmentProgramEligibilityDetails ContractApplied HostProviderName InvoiceDetailId ServiceProviderName"
)
COLUMNS: dict[str, list[str]] = {
    "1.0": [*sorted(COMMON + SELLER_UNTIL_1_2), "x_ModelId", "x_SkuMeter"],
    "1.2": sorted(COMMON + SELLER_UNTIL_1_2 + SINCE_1_2),
    "1.4": sorted(COMMON + SINCE_1_2 + SINCE_1_4),
}
DECIMALS = {
    "BilledCost", "CommitmentDiscountQuantity", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice",
    "EffectiveCost", "ListCost", "ListUnitPrice", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice", "PricingQuantity",
}  # fmt: skip
TIMES = {"BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"}

SELLERS = {
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "google": "Google Cloud",
    "aws": "AWS",
    "pinecone": "Pinecone",
}
CATEGORIES = {
    "Amazon Elastic Compute Cloud": ("Compute", "Virtual Machines", "Instance"),
    "Amazon Simple Storage Service": ("Storage", "Object Storage", "Bucket"),
    "AWS Glue": ("Analytics", "Data Processing", "Job"),
    "Pinecone Database": ("Databases", "NoSQL Databases", "Vector Index"),
    "AWS Support (Business)": ("Management and Governance", "Support", None),
    "AWS Marketplace Tax": ("Other", "Other (Other)", None),
}
TOKEN_WORDS = {
    "input_uncached": ("Input Tokens", "Input", "Uncached", "Text Input - Predictions"),
    "cache_read": ("Cache Read Input Tokens", "Input", "Read", "Text Input Caching"),
    "cache_write_5m": ("Cache Write Input Tokens", "Input", "Write", "Text Input Cache Write"),
    "cache_write_1h": ("Cache Write 1h Input Tokens", "Input", "Write", "Text Input Cache Write 1h"),
    "output": ("Output Tokens", "Output", None, "Text Output - Predictions"),
    "reasoning": ("Reasoning Tokens", "Output", None, "Thinking Text Output - Predictions"),
}


def write(
    lines: Iterable[BillLine], version: Version, encoding: Encoding = "csv", invoice_id: str | None = None
) -> bytes:
    """The lines as one file. `invoice_id` is for a month that the vendor has invoiced."""
    rows = [row(line, version, invoice_id) for line in lines]
    if encoding == "csv":
        return _csv(rows, version, "NULL" if version == "1.0" else "")
    return _parquet(rows, version)


def row(line: BillLine, version: Version, invoice_id: str | None = None) -> dict[str, Value]:
    """One line under the column names of `version`; columns that say nothing are None."""
    values = _common(line) | _seller(line)
    values |= {"InvoiceId": invoice_id, "SkuMeter": sku_meter(line), "SkuPriceDetails": _details(line)}
    values |= {"x_ModelId": _model(line), "x_SkuMeter": sku_meter(line)}
    return {name: values.get(name) for name in COLUMNS[version]}


def _common(line: BillLine) -> dict[str, Value]:
    period = month_bounds(line.month)
    category, subcategory, kind = CATEGORIES.get(line.service, ("AI and Machine Learning", "Generative AI", None))
    priced = None if line.quantity is None else line.quantity / line.per
    tokens = line.meter in TOKEN_METERS
    thousands = tokens and line.provider == "aws"  # AWS counts tokens in thousands
    return {
        "BilledCost": line.billed_cost,
        "BillingAccountId": line.billing_account_id,
        "BillingAccountName": "Larkfield",
        "BillingAccountType": "Organization",
        "BillingCurrency": line.currency,
        "BillingPeriodStart": period[0],
        "BillingPeriodEnd": period[1],
        "ChargeCategory": line.category,
        "ChargeDescription": _description(line),
        "ChargeFrequency": line.frequency,
        "ChargePeriodStart": line.start,
        "ChargePeriodEnd": line.end,
        "ConsumedQuantity": priced if thousands else line.quantity,
        "ConsumedUnit": "1000 Tokens" if thousands else line.unit,
        "ContractedCost": line.contracted_cost,
        "ContractedUnitPrice": line.contracted_price,
        "EffectiveCost": line.billed_cost,
        "ListCost": line.list_cost,
        "ListUnitPrice": line.list_price,
        "PricingCategory": None if priced is None else "Standard",
        "PricingQuantity": priced,
        "PricingUnit": line.unit if line.unit is None or line.per == 1 else f"{line.per} {line.unit}",
        "RegionId": line.region,
        "ResourceId": line.resource_id,
        "ResourceName": line.resource_id,
        "ResourceType": kind if line.resource_id else None,
        "ServiceCategory": category,
        "ServiceSubcategory": subcategory,
        "ServiceName": line.service,
        "SkuId": line.sku_id,
        "SkuPriceId": None if line.sku_id is None else f"{line.sku_id}/on-demand",
        "SubAccountId": line.sub_account_id,
        "SubAccountName": line.sub_account_id,
        "SubAccountType": None if line.sub_account_id is None else "Account",
    }


def _seller(line: BillLine) -> dict[str, Value]:
    name = SELLERS[line.provider]
    names = ("ProviderName", "PublisherName", "InvoiceIssuerName", "ServiceProviderName", "HostProviderName")
    return dict.fromkeys(names, name)


def sku_meter(line: BillLine) -> str | None:
    return TOKEN_WORDS[line.meter][0] if line.meter in TOKEN_WORDS else line.meter


def _model(line: BillLine) -> str | None:
    return BILLED_AS.get(line.model or "", line.model)


def _description(line: BillLine) -> str:
    if line.meter not in TOKEN_WORDS or line.model is None:
        return line.description
    words = line.model.replace("-", " ").title() if line.provider == "google" else line.model
    return f"{words} {TOKEN_WORDS[line.meter][3]}{' (Long)' if line.long else ''}"


def _details(line: BillLine) -> str | None:
    """The price's properties, as the draft of 1.5 names them; earlier versions ask for an x_ in front."""
    if line.model is None or line.meter not in TOKEN_WORDS:
        return None
    _, direction, cache, _ = TOKEN_WORDS[line.meter]
    details = {"x_ModelId": _model(line), "x_TokenDirection": direction, "x_TokenCacheAction": cache}
    if line.long:
        details["x_ContextTier"] = "Long"
    return json.dumps({name: value for name, value in details.items() if value is not None})


# --- encodings ---------------------------------------------------------------------------------------------------


def _csv(rows: list[dict[str, Value]], version: Version, nothing: str = "") -> bytes:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(COLUMNS[version])
    for values in rows:
        out.writerow([nothing if value is None else _text(value, version) for value in values.values()])
    return text.getvalue().encode()


def _text(value: str | Decimal | datetime, version: Version) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" if version == "1.0" else f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return value


def _parquet(rows: list[dict[str, Value]], version: Version) -> bytes:
    """Typed columns: DECIMAL(38,18), TIMESTAMP, VARCHAR. The same rows give the same bytes."""
    types = {name: _type(name) for name in COLUMNS[version]}
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        source, target = Path(folder, "rows.csv"), Path(folder, "rows.parquet")
        source.write_bytes(_csv(rows, version))
        con.execute("set threads = 1")
        con.execute(
            "create table focus as from read_csv($source, header = true, columns = $types, delim = ',', quote = '\"')",
            {"source": str(source), "types": types},
        )
        con.execute(f"copy focus to '{target}' (format parquet, compression zstd)")
        return target.read_bytes()


def _type(name: str) -> str:
    return "DECIMAL(38,18)" if name in DECIMALS else "TIMESTAMP" if name in TIMES else "VARCHAR"
