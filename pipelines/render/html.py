"""Pages of one file: templates without script or network, numbers as people read them, and bars as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.home import asset
from pipelines.render import words
from pipelines.render.figures import ZERO
from pipelines.render.names import cell_text

LEFT, TOP, BOTTOM = 46, 14, 26  # room for the labels of a chart, in its own units


def render(template: str, **parts: Any) -> str:
    return _environment().get_template(template).render(**parts)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(str(asset("reports", "templates"))), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "money": money, "signed": signed, "rate": rate, "size": size, "percent": percent, "moved": moved, "quantity": quantity, "measure": measure, "clean": cell_text, "href": lambda text: quote(text, safe="/"),
    }  # fmt: skip
    return environment


def money(amount: Decimal | int | None) -> str:
    return "–" if amount is None else f"{words.half_up(amount) + 0:,.2f}".replace("-", "−")


def signed(amount: Decimal | int) -> str:
    """A change: the direction is a sign before the digits, never a colour."""
    cents = words.half_up(amount) + 0
    return "–" if not cents else f"{cents:+,.2f}".replace("-", "−")


def rate(amount: Decimal) -> str:
    """All digits that say something, at least two of them after the point."""
    whole, _, digits = f"{amount:,f}".partition(".")
    return f"{whole}.{digits.rstrip('0').ljust(2, '0')}"


def quantity(amount: Decimal | int | None) -> str:
    """Up to four decimals."""
    if amount is None:
        return "–"
    text = f"{Decimal(amount).quantize(Decimal('0.0001')):,f}"
    return text.rstrip("0").rstrip(".").replace("-", "−")


def percent(share: Decimal | None) -> str:
    return "–" if share is None else f"{round(share, 1) + 0:,.1f}%".replace("-", "−")


def moved(share: Decimal | None) -> str:
    """A change in percent, with its sign."""
    return "–" if share is None else f"{round(share, 1) + 0:+,.1f}%".replace("-", "−")


_DECIMALS = {"rate": 4, "minutes": 1}


def measure(value: Decimal | None, kind: str) -> str:
    """A figure of its kind: money, rate (four decimals), count, minutes or percent; unknown is n/a, never a zero."""
    if value is None:
        return "n/a"
    if kind == "percent":
        return percent(value)
    return money(value) if kind == "money" else f"{value:,.{_DECIMALS.get(kind, 0)}f}".replace("-", "−")


def widths(amounts: Sequence[Decimal]) -> list[str]:
    """How wide a bar is for each amount, in percent of the largest."""
    largest = max((abs(amount) for amount in amounts), default=ZERO) or Decimal(1)
    return [f"{abs(amount) * 100 / largest:.1f}" for amount in amounts]


def size(number: int) -> str:
    return f"{max(1, round(number / 1024)):,} kB"


@dataclass(frozen=True)
class Bar:
    """One column of a chart: its label, what a pointer over it says, and the stacked parts from the base line on."""

    label: str
    said: str
    is_minor: bool  # its label is left out where there is little room
    x: str
    middle: str
    parts: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Chart:
    """Stacked columns, with everything in place; the template only draws."""

    width: int
    height: int
    bar_width: str
    base: str
    ticks: tuple[tuple[str, str], ...]  # (y, label)
    bars: tuple[Bar, ...]
    names: tuple[tuple[str, str], ...]  # (style, name) of every series that is there
    text: str  # the description


STYLES = ("own", "shared", "other")


def stacked(labels: list[str], values: list[tuple[Decimal, ...]], names: tuple[str, ...], width: int, height: int = 220, spoken: list[str] | None = None) -> Chart:
    """Parts above zero stand on each other, parts below hang from the base line; at least one column.

    `spoken`: what columns are called in texts, where labels are shortened.
    """
    spoken = spoken or labels
    highest = max(max(sum((v for v in one if v > 0), ZERO) for one in values), ZERO)
    lowest = min(min(sum((v for v in one if v < 0), ZERO) for one in values), ZERO)
    if -lowest < highest / 50:
        lowest = ZERO  # no band under the columns for a few cents
    step = nice_step(highest - lowest)
    top = (highest / step).to_integral_value(ROUND_CEILING) * step or step
    bottom = (lowest / step).to_integral_value(ROUND_FLOOR) * step
    room = Decimal(height - TOP - BOTTOM)

    def y(value: Decimal) -> Decimal:
        return TOP + (top - max(value, bottom)) * room / (top - bottom)

    slot = Decimal(width - LEFT) / len(labels)
    bar = min(slot * Decimal("0.72"), Decimal(64))
    shown = [at for at in range(len(names)) if at == 0 or any(abs(one[at]) > (top - bottom) / 200 for one in values)]  # nothing thinner than a line
    bars = []
    for at, (label, one) in enumerate(zip(labels, values, strict=True)):
        x, up, down, parts = LEFT + slot * at + (slot - bar) / 2, ZERO, ZERO, []
        for series in shown:
            value = one[series]
            start = up if value >= 0 else down
            ends = sorted((y(start), y(start + value)))
            if value:
                parts.append({"style": STYLES[series], "y": f"{ends[0]:.1f}", "height": f"{ends[1] - ends[0]:.1f}"})
            up, down = (up + value, down) if value >= 0 else (up, down + value)
        said = f"{spoken[at]}: {money(sum(one, ZERO))} (" + ", ".join(f"{names[series]} {money(one[series])}" for series in shown) + ")"
        minor = len(labels) > 16 and at % 5 != 4 and at != 0
        bars.append(Bar(label, said, minor, f"{x:.1f}", f"{x + bar / 2:.1f}", tuple(parts)))
    count = int((top - bottom) / step)
    ticks = tuple((f"{y(bottom + step * n):.1f}", _tick(bottom + step * n, step)) for n in range(count + 1))
    peak = max(range(len(values)), key=lambda n: (sum(values[n], ZERO), -n))
    text = f"{len(labels)} columns from {spoken[0]} to {spoken[-1]}. Highest: {spoken[peak]} with {money(sum(values[peak], ZERO))}. The table below has every figure."
    return Chart(width, height, f"{bar:.1f}", f"{y(ZERO):.1f}", ticks, tuple(bars), tuple((STYLES[at], names[at]) for at in shown), text)


def of_days(days: Sequence[dict[str, Any]]) -> Chart:
    """Own usage and shared cost of days in a row (usage_date, own, shared); the first of a month is called by the month."""
    labels = [f"{one['usage_date']:%b}" if one["usage_date"].day == 1 else str(one["usage_date"].day) for one in days]
    spoken = [f"{one['usage_date']:%a} {one['usage_date'].day} {one['usage_date']:%b}" for one in days]
    return stacked(labels, [(one["own"], one["shared"]) for one in days], ("own usage", "share of common cost"), 720, spoken=spoken)


def nice_step(span: Decimal) -> Decimal:
    """A step of 1, 2 or 5 times a power of ten that gives at most six lines."""
    if span <= 0:
        return Decimal(1)
    least = span / 5
    power = Decimal(10) ** least.adjusted()
    return next(power * times for times in (1, 2, 5, 10) if power * times >= least)


def _tick(value: Decimal, step: Decimal) -> str:
    """Short, so that it can be read on a phone: `80k`, `1.5k`, `0.25`."""
    if step >= 500:
        return f"{(value / 1000).normalize():,f}k".replace("-", "−") if value else "0"
    return (f"{value:,.0f}" if step >= 1 else f"{value.normalize():f}").replace("-", "−")
