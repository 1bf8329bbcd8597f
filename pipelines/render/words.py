"""Words and numbers as people read them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from pipelines.allocation.words import METERS
from pipelines.render.book import TEXT, Book, Look, text_lines
from pipelines.render.figures import ZERO, Row

MOST_ALIKE = 10  # pots that differ only in their days and units
_SPECIAL = {
    "gpu_idle": "Idle GPUs", "gpu_queue": "Waiting for GPUs", "gpu_reserved_idle": "GPUs held and idle", "gpu_server_idle": "Model servers held and idle", "gpu_stranded": "Rests of sliced GPUs", "gpu_jobs": "GPU jobs",
    "gpu_serving": "Own model servers", "unseen_serving": "Calls past the gateways", "query": "Vector queries", "platform": "Platform overhead", "index_maintenance": "Index upkeep",
    "vector_storage": "Index storage", "vector_queries": "Index searches", "vector_writes": "Index writes", "commitment_idle": "Unused commitment",
}  # fmt: skip
_STATES = {
    "matched": "Matched", "variance_price": "Price differs", "variance_quantity": "Quantity differs", "variance_cost": "Cost differs", "unmetered": "Billed, not seen",
    "unbilled": "Not billed yet", "covered": "Bought ahead", "timing": "On the next day", "unmapped": "Name not known", "non_usage": "No calls of models", "not_comparable": "No price to compare", "rejected": "Rows not readable", "unknown_trigger": "Document owner not known", "told_twice": "Told by two gateways",
    "usage_report_differs": "Own usage report differs", "unreported": "Billed, not reported", "unit_suspect": "Another unit?", "drift": "Bill drifts away",
    "invoice_differs": "Invoice differs", "invoice_missing": "No invoice document", "bill_missing": "Invoice without a bill", "not_due": "Not due yet", "begins_earlier": "Began before the first period",
    "rounding": "Rounding", "differs": "Differs", "gpu_beyond_capacity": "More GPUs held than declared", "gpu_without_cost": "GPUs nobody bills",
    "gpu_without_rate": "GPUs without a rate",
}  # fmt: skip

_VENDORS = {
    "anthropic": "Anthropic", "aws": "AWS", "azure": "Azure", "baseten": "Baseten", "cerebras": "Cerebras", "cloudflare": "Cloudflare", "cohere": "Cohere", "databricks": "Databricks",
    "deepseek": "DeepSeek", "elevenlabs": "ElevenLabs", "fireworks": "Fireworks AI", "github-copilot": "GitHub Copilot", "google": "Google Cloud", "groq": "Groq", "meta": "Meta", "minimax": "MiniMax",
    "mistral": "Mistral AI", "modal": "Modal", "moonshotai": "Moonshot AI", "novita": "Novita AI", "openai": "OpenAI", "openrouter": "OpenRouter", "ovhcloud": "OVHcloud", "perplexity": "Perplexity",
    "pinecone": "Pinecone", "rate card": "Rate card", "runpod": "Runpod", "together": "Together AI", "voyageai": "Voyage AI", "x-ai": "xAI", "zai": "Z.ai", "zhipuai": "Zhipu AI",
}  # fmt: skip
_OF_A_VENDOR = {
    "unmetered", "unpriced", "unbilled", "not_comparable", "unmapped", "unit_suspect", "drift", "usage_report_differs", "invoice_differs", "invoice_missing", "bill_missing",
    "variance_price", "variance_quantity", "variance_cost",
}  # fmt: skip


def plain(name: str | None) -> str | None:
    """`index_maintenance` -> `Index upkeep`, `training` -> `Training`."""
    if not name:
        return None
    return _SPECIAL.get(name) or name.replace("_", " ").replace("-", " ").capitalize()


def meter(name: str | None) -> str | None:
    """`cache_read` -> `Cached input`; a vendor's own word stays as it is."""
    said = METERS.get(name or "")
    return said[0].upper() + said[1:] if said else name


def state(name: str) -> str:
    """A state of reconciliation or a kind of exception."""
    return _STATES.get(name) or plain(name) or name


def vendor(provider: str | None) -> str | None:
    """`openai` -> `OpenAI`; a vendor that only the company's own files name stays as they write it."""
    return _VENDORS.get(provider or "", provider)


def subject(exception: Row) -> str:
    """What an exception is about."""
    what = exception["what"] or ""
    if exception["kind"] in _OF_A_VENDOR:
        provider, space, rest = what.partition(" ")
        return f"{vendor(provider)}{space}{rest}"
    return what.replace("_", " ") if exception["kind"] == "rejected" else what


def charge(line: Row) -> str:
    """What a statement line is for. The two sides of the rate card have their own words."""
    if line["category"] == "recovery":
        return "Sold at the rate" if line["sold"] else "Bought at cost"
    return plain(line["activity"]) or "Other"


def unit(name: str | None, price: Decimal | None = None) -> tuple[int, str | None]:
    """How a unit is shown, so that a rate has digits to read: (how many make one, its name). `price` is the rate of one."""
    if not name:
        return 1, name
    low = re.sub(r"(?<=-)Hours", "hours", name) if "-" in name else name.lower()
    scale = 1_000_000 if low == "tokens" or low.endswith(" units") else 1_000 if low in ("queries", "requests") else 1
    while price and abs(price * scale) < Decimal("0.001") and scale < 1_000_000_000:
        scale *= 1_000
    many = {1: "", 1_000: "1K ", 1_000_000: "1M ", 1_000_000_000: "1B "}[scale]
    return scale, many + low


def half_up(amount: Decimal | int) -> Decimal:
    """Whole cents, as Excel's ROUND makes them; a sum of no rows is the integer 0."""
    return Decimal(amount).quantize(Decimal("0.01"), ROUND_HALF_UP)


def readable_pots(pots: list[Row]) -> list[Row]:
    """The pots one by one, but those of one rule and subject that are very many (one a day, say) summed, then without units."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for pot in pots:
        groups[tuple(pot[key] for key in ("cost_pool", "rule_id", "part", "driver", "pot", "service", "billing_currency"))].append(pot)
    return [shown for group in groups.values() for shown in (group if len(group) <= MOST_ALIKE else [_together(group)])]


def _together(group: list[Row]) -> Row:
    sums = {key: sum((pot[key] for pot in group), ZERO) for key in ("pool_cost", "amount")}
    days = {"first_day": min(pot["first_day"] for pot in group), "last_day": max(pot["last_day"] for pot in group)}
    return {**group[0], "units": None, "driver_total": None, **sums, **days}


def change(now: Decimal, before: Decimal, so_far: str | None = None) -> str:
    """The change against the month before, in words; no percentage of nothing, nor of a month that is not over (`so_far` says how much of it is known)."""
    if so_far:
        return so_far
    if now == before:
        return "as the month before"
    if before == 0:
        return "nothing the month before"
    if before < 0 or now < 0:
        return f"{now - before:+,.2f} against the month before"
    share = abs(now - before) * 100 / before
    return f"{share:,.1f}% {'above' if now > before else 'below'} the month before"


def paragraph(book: Book, ws: Any, row: int, first: int, last: int, text: str, width: float, look: Look = TEXT) -> None:
    """Wrapped text over merged columns; `width` in characters, the row grows with the text."""
    book.merge(ws, row, first, last)
    book.put(ws, row, first, text, replace(look, wrap=True))
    book.height(ws, row, 13.5 * text_lines(text, width, look.size) + 4)
