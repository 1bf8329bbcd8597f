"""Invoice documents as finance types them in, one row each, in CSV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pipelines.sample.company import BILLING_ACCOUNTS

HEADER = "invoice_id,provider,billing_account_id,billing_period,amount,currency,tax,issued_on"


@dataclass(frozen=True)
class Document:
    provider: str
    amount: Decimal
    tax: Decimal
    issued_on: date


def write(month: str, documents: Iterable[Document]) -> bytes:
    rows = [HEADER]
    for one in documents:
        invoice = f"INV-{one.provider.upper()}-{month}"
        rows.append(f"{invoice},{one.provider},{BILLING_ACCOUNTS[one.provider]},{month},{one.amount},USD,{one.tax},{one.issued_on}")
    return ("\n".join(rows) + "\n").encode()
