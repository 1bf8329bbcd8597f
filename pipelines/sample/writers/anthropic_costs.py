"""One page of Anthropic's `cost_report`, grouped by workspace and description.

Native quirks kept: `amount` is a decimal string in cents, with fractions of a cent; there are no quantities and no keys;
the default workspace is null; long-context use is a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from pipelines.sample.company import BILLED_AS
from pipelines.sample.truth import BillLine

TOKEN_TYPES = {
    "input_uncached": ("uncached_input_tokens", "Input Tokens"),
    "cache_read": ("cache_read_input_tokens", "Input Tokens, Cache Read"),
    "cache_write_5m": ("cache_creation.ephemeral_5m_input_tokens", "Input Tokens, Cache Write (5m)"),
    "cache_write_1h": ("cache_creation.ephemeral_1h_input_tokens", "Input Tokens, Cache Write (1h)"),
    "output": ("output_tokens", "Output Tokens"),
}
NAMES = {
    "claude-sonnet-4-5": "Claude Sonnet 4.5",
    "claude-haiku-4-5": "Claude Haiku 4.5",
    "claude-opus-4-1": "Claude Opus 4.1",
}


def write_page(lines: Iterable[BillLine], start: date, end: date) -> bytes:
    """The buckets of [start, end), on one page."""
    by_day: dict[date, list[BillLine]] = {}
    for line in lines:
        by_day.setdefault(line.day, []).append(line)
    days = [start + timedelta(days=n) for n in range((end - start).days)]
    data = [
        {
            "starting_at": f"{day}T00:00:00Z",
            "ending_at": f"{day + timedelta(days=1)}T00:00:00Z",
            "results": [_result(line) for line in by_day.get(day, [])],
        }
        for day in days
    ]
    return (json.dumps({"data": data, "has_more": False, "next_page": None}, indent=1) + "\n").encode()


def _result(line: BillLine) -> dict[str, Any]:
    token_type, words = TOKEN_TYPES.get(line.meter or "", (None, line.description))
    name = NAMES.get(line.model or "", line.model)
    return {
        "currency": line.currency,
        "amount": f"{(line.billed_cost * 100).normalize():f}",
        "workspace_id": line.sub_account_id,
        "description": f"{name} Usage - {words}",
        "cost_type": "tokens",
        "context_window": "200k-1M" if line.long else "0-200k",
        "model": BILLED_AS.get(line.model or "", line.model),
        "service_tier": "standard",
        "token_type": token_type,
        "inference_geo": "global",
    }
