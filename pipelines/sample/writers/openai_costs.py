"""Pages of OpenAI's `/v1/organization/costs`, grouped by line item and project, one bucket per day.

Native quirks kept: amounts are strings, sometimes padded to thirty-six decimals, sometimes JSON numbers, and zero is
`0E-6176`; the model and the token class share one text; the currency is in lower case; an empty day is an empty bucket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pipelines.sample.company import BILLED_AS, UNIT_ERROR
from pipelines.sample.truth import BillLine

CLASSES = {"input_uncached": "input_tokens", "cache_read": "cached input", "output": "output_tokens"}
ZERO = "0E-6176"
RAW = re.compile(r'"<raw:([^>]+)>"')


def write_pages(lines: Iterable[BillLine], start: date, end: date, pages: int = 2) -> list[bytes]:
    """The buckets of [start, end), cut into `pages` pages that continue each other."""
    by_day: dict[date, list[BillLine]] = {}
    for line in lines:
        by_day.setdefault(line.day, []).append(line)
    days = [start + timedelta(days=n) for n in range((end - start).days)]
    cut = -(-len(days) // pages)
    parts = [days[n : n + cut] for n in range(0, len(days), cut)]
    return [_page([_bucket(day, by_day.get(day, [])) for day in part], n, len(parts)) for n, part in enumerate(parts)]


def _page(buckets: list[dict[str, Any]], number: int, count: int) -> bytes:
    more = number + 1 < count
    page = {
        "object": "page",
        "data": buckets,
        "has_more": more,
        "next_page": f"page_{buckets[-1]['end_time']}" if more else None,
    }
    return (RAW.sub(r"\1", json.dumps(page, indent=1)) + "\n").encode()


def _bucket(day: date, lines: list[BillLine]) -> dict[str, Any]:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    results = [_result(line, n) for n, line in enumerate(lines)]
    if results:  # a model that was used within its free allowance
        results.append({**results[0], "line_item": "gpt-5-nano-2025-08-07, cached input", "quantity": None,
                        "quantity_unit": None, "amount": {"value": ZERO, "currency": "usd"}})  # fmt: skip
    return {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": results}


def _result(line: BillLine, n: int) -> dict[str, Any]:
    model = BILLED_AS.get(line.model or "", line.model)
    wrong = (line.day, line.model, line.meter) == UNIT_ERROR
    thousands = (n % 5 == 4 or wrong) and line.quantity is not None
    return {
        "object": "organization.costs.result",
        "amount": {"value": _amount(line.billed_cost, n), "currency": line.currency.lower()},
        "line_item": f"{model}, {CLASSES.get(line.meter or '', line.meter)}" if model else line.description,
        "project_id": line.sub_account_id,
        "api_key_id": None,
        "user_id": None,
        "quantity": None if line.quantity is None else _raw(line.quantity / (1000 if thousands else 1)),
        "quantity_unit": None if line.quantity is None else "1000_tokens" if thousands and not wrong else "tokens",
    }


def _amount(cost: Decimal, n: int) -> str:
    if cost == 0:
        return ZERO
    if n % 3 == 1:
        return f"{cost:.36f}"
    return _raw(cost) if n % 3 == 2 else f"{cost:f}"


def _raw(number: Decimal) -> str:
    """A marker that becomes a bare JSON number with exactly these digits."""
    return f"<raw:{number.normalize():f}>"
