"""File names, month names and the text that may stand in a cell."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, timedelta
from hashlib import sha256

from pipelines.policy.calendar import month_days

_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
LONGEST_CELL = 32_000


def workbook_name(period: str, version: int, team: str | None) -> str:
    """`APN-2026-10-search-v1.xlsx`; the company's own is `APN-2026-10-company-v1.xlsx`. Never a path part.

    Made of plain characters only: a team id with others, or one that could be taken for the company's file, gets a suffix.
    """
    label = f"v{version}" if version else "draft"
    return f"APN-{slug(period)}-{'company' if team is None else slug(team, taken='company')}-{label}.xlsx"


def slug(text: str, taken: str = "") -> str:
    plain = unicodedata.normalize("NFKC", text)
    slug = re.sub(r"[^a-z0-9_-]+", "-", plain.lower()).strip("-_")[:40]
    if slug == text and slug != taken:
        return slug
    return f"{slug}-{sha256(text.encode('utf-8', 'replace')).hexdigest()[:6]}".lstrip("-")


def month(period: str) -> str:
    """`2026-10` -> `October 2026`; anything else is returned as it is."""
    match = re.fullmatch(r"(\d{4})-(\d{2})", period)
    if not match or not 1 <= int(match[2]) <= 12:
        return period
    return f"{_MONTHS[int(match[2]) - 1]} {match[1]}"


def period_name(period: str, fiscal: str | None, start: date, end: date) -> str:
    """`October 2026`; with what finance calls it, and with its days where it is no calendar month."""
    known = re.fullmatch(r"\d{4}-\d{2}", period) is not None
    said = [fiscal] if fiscal else []
    if known and (start, end) != month_days(period):
        said.append(f"{start} to {end - timedelta(days=1)}")
    return f"{month(period)} ({', '.join(said)})" if said else month(period)


def day_and_month(day: date) -> str:
    """`7 October`"""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def days_of(period: str, first: date, last: date) -> str:
    """`3` or `1–31` of the month that the period is called by; `28 September–25 October` where days of another one are among them."""
    outside = any(f"{day:%Y-%m}" != period for day in (first, last))
    said = [day_and_month(day) if outside else str(day.day) for day in (first, last)]
    return "–".join(dict.fromkeys(said))


def short_month(period: str) -> str:
    """`2026-10` -> `Oct 26`; anything else is returned as it is."""
    named = month(period)
    return period if named == period else f"{named[:3]} {period[2:4]}"


def cell_text(text: str) -> str:
    """Text as a cell may hold it: without characters that XML forbids, not taken for an escape, not too long."""
    clean = _ESCAPE.sub("_x005F_", _ILLEGAL.sub("", text))
    return clean if len(clean) <= LONGEST_CELL else clean[: LONGEST_CELL - 1] + "…"


def looks_like_formula(text: str) -> bool:
    return text[:1] in ("=", "+", "-", "@", "\t", "\r")


def clip(text: str, longest: int) -> str:
    """Text that fits; what was cut off is visible as an ellipsis."""
    return text if len(text) <= longest else text[: max(1, longest - 1)].rstrip() + "…"
