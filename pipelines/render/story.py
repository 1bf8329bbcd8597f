"""What happened in a team's month, in a few plain sentences. Workbook and page say the same."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import TYPE_CHECKING

from pipelines.render import figures, words
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import day_and_month, month

if TYPE_CHECKING:
    from pipelines.render.team import Team

PARTS = {"volume_amount": "volume", "rate_amount": "rate", "mix_amount": "mix", "new_amount": "new", "other_amount": "not counted"}
AMOUNTS = ("amount", "prior_amount", "change", *PARTS)
_WORDS = {"volume": "volume", "rate": "prices", "mix": "another mix", "new": "what is new", "not counted": "amounts without a quantity"}


@dataclass(frozen=True)
class Tile:
    """A figure at the top of a statement; None is not known. `kind`: money, change or share."""

    label: str
    value: Decimal | None
    kind: str
    currency: str
    note: str


def tiles(team: Team) -> list[Tile]:
    """Total, budget or else change, price of a million charged tokens, and what is shared; for the team that runs a rate card, what it brought in."""
    tokens, cost, currency = team.tokens
    per_million = cost * 1_000_000 / tokens if tokens > 0 and currency else None
    called = f"{tokens / 1_000_000:,.1f}M tokens of own model calls" if per_million is not None else "no priced tokens in this month"
    return [
        Tile("Total", team.total, "money", team.currency, words.change(team.total, team.prior, team.so_far)),
        _budget(team) or Tile("Change", team.total - team.prior, "change", team.currency, f"the {'whole ' if team.so_far else ''}month before: {team.prior:,.2f} {team.currency}"),
        Tile("Cost per 1M charged tokens", per_million, "money", currency or team.currency, called),
        _part(team),
    ]


def _budget(team: Team) -> Tile | None:
    """The team's own budget, of all that it does; None where it has none or more than one, or draws on one with others."""
    own = [one for one in team.used.budgets if not one["for_project"] and one["share_percent"] == 100] if team.used else []
    if len(own) != 1 or own[0]["consumed_percent"] is None:
        return None
    percent, left, amount, currency = (own[0][key] for key in ("consumed_percent", "remaining", "amount", "currency"))
    note = f"{abs(left):,.2f} {'left of' if left >= 0 else 'over'} {amount:,.2f} {currency}"
    return Tile("Budget used", percent / 100, "share", currency, note)


def _part(team: Team) -> Tile:
    sold = -sum((one["amount"] for one in team.lines if one["category"] == "recovery" and one["sold"]), ZERO)
    bought = sum((one["amount"] for one in team.lines if one["category"] == "recovery" and not one["sold"]), ZERO)
    if sold or bought:
        return Tile("Recovered by the rate card", sold / bought if bought > 0 else None, "share", team.currency, f"{sold:,.2f} of {bought:,.2f} {team.currency}")
    shared = sum((s["shared_amount"] for s in team.statements), ZERO)
    return Tile("Shared part", shared / team.total if team.total > 0 else None, "share", team.currency, f"{shared:,.2f} {team.currency} of common cost")


def line(row: Row) -> str:
    """A line of a statement in words: what for, service, model."""
    named = " – ".join(part for part in (words.charge({"sold": False, **row}), row["service"], row["model"]) if part)
    return f"Correction: {named}" if row["category"] == "adjustment" else named


def sentences(team: Team) -> list[str]:
    """The total and its reasons, the largest move, common cost, the day that cost most, the list price, and what may still change."""
    told = (_total(team), _largest(team), _common(team), _day(team), _list_price(team), _earlier(team), _estimate(team))
    return [sentence for sentence in told if sentence]


def _total(team: Team) -> str:
    if not team.moves or all(move["prior_amount"] == 0 for move in team.moves):
        return f"{month(team.period)} is the first month with a statement: {team.total:,.2f} {team.currency}."
    if team.so_far:
        return f"{month(team.period)} stands at {team.total:,.2f} {team.currency} {team.so_far}; the month before cost {team.prior:,.2f} in all."
    sums = {word: sum((move[part] for move in team.moves), ZERO) for part, word in PARTS.items()}
    word = max(sums, key=lambda name: abs(sums[name]))
    said = f"{month(team.period)} is {words.change(team.total, team.prior)}"
    return f"{said}, {_signed(team.total - team.prior)}: mostly {_WORDS[word]} ({_signed(sums[word])})." if sums[word] else f"{said}."


def _largest(team: Team) -> str | None:
    """The line that moved most, by the part that explains most of it; nothing while the month is not over."""
    if team.so_far:
        return None
    moved = [move for move in team.moves if move["prior_amount"] and move["change"] and move["category"] != "adjustment"]
    if not moved:
        return None
    move = moved[0]
    part = max(PARTS, key=lambda name: abs(move[name]))
    used, before = move["quantity"], move["prior_quantity"]
    reason = {"rate_amount": "mostly other prices", "mix_amount": "mostly another mix of its meters", "new_amount": "mostly new", "other_amount": "an amount without a quantity"}.get(part)
    if part == "volume_amount":
        reason = "mostly more of it" if move["volume_amount"] > 0 else "mostly less of it"
        if before and used is not None:
            unit = (words.unit(move["unit"])[1] or "").removeprefix("1M ").removeprefix("1K ")
            reason = f"{abs(used - before) * 100 / before:,.1f}% {'more' if used > before else 'fewer'} {unit}"
            reason += " at the same price" if not move["rate_amount"] and not move["mix_amount"] else f", {_signed(move['volume_amount'])} of it"
    return f"{line(move)} moved most: {_signed(move['change'])}, {reason}."


def _common(team: Team) -> str | None:
    """Shared platform cost, apart from what the team used itself."""
    shared = sum((s["shared_amount"] for s in team.statements), ZERO)
    if not shared:
        return None
    own = sum((s["direct_amount"] for s in team.statements), ZERO)
    pools = [words.plain(name) or name for name, _ in figures.common_pools(team.con)[:2]]
    return f"{own:,.2f} is own usage, {shared:,.2f} a share of common cost, most of it {' and '.join(pools)}."


def _day(team: Team) -> str | None:
    sums = {day: sum(split, ZERO) for day, split in team.days}
    if len(sums) < 7:
        return None
    day = max(sums, key=lambda at: (sums[at], -at.toordinal()))
    usual = median(sums.values())
    if usual <= 0:
        return None
    largest = team.largest.get(day)
    cause = f", most of it {largest[0]} with {largest[1]:,.2f}" if largest else ""
    return f"{day_and_month(day)} cost most, {sums[day]:,.2f}, {sums[day] / usual:,.1f} times the median day{cause}."


def _list_price(team: Team) -> str | None:
    known = [one for one in team.lines if one["discount"] is not None]
    listed, amount = (sum((one[key] for one in known), ZERO) for key in ("list_cost", "amount"))
    if listed <= 0 or not amount:
        return None
    percent = f"{abs(listed - amount) * 100 / listed:,.1f}%"
    compared = "as much as" if percent == "0.0%" else f"{percent} {'less' if listed >= amount else 'more'} than"
    return f"Charged is {compared} the public list price of the same use, {listed:,.2f}."


def _earlier(team: Team) -> str | None:
    return f"{_signed(words.half_up(team.earlier))} was booked now for earlier months; the chart of days is without it." if words.half_up(team.earlier) else None


def _estimate(team: Team) -> str:
    if team.scope["version"]:
        return "This version is final and does not change."
    waiting = words.half_up(figures.estimated(team.con))
    return "This is a draft until its month is closed" + (f"; bills for {waiting:,.2f} of it are not final yet." if waiting else ".")


def _signed(amount: Decimal) -> str:
    return f"{amount:+,.2f}".replace("-", "−")
