"""A team's statement as one HTML file: no script, no network; from the same figures as its workbook."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from pipelines.allocation.words import driver
from pipelines.render import controls, figures, html, story, words
from pipelines.render.book import symbol
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import days_of, month, short_month
from pipelines.render.team import COVERED, RECOVERY, Team

TOP = 8
_NOTES = ("Own usage", "Share of common cost", "Corrections", "Paid for through the rate card", "Recovery", "Effective cost", "List cost", "Estimated, Accrued usage", "DRAFT, FINAL, SUPERSEDED")


def html_of(team: Team, workbook: str, whole_detail: str | None = None) -> str:
    """`workbook` and `whole_detail` are the names of the files beside the page."""
    parts = (team.own_words, "Shared", "Corrections and recovery")
    values = [(one["own"], one["shared"], one["other"]) for one in team.months]
    days = [(own, shared) for _, (own, shared) in team.days]
    checks = controls.team_checks(team)
    return html.render(
        "statement.html.j2",
        team=team, name=team.name, month=month(team.period), tiles=[_tile(one) for one in story.tiles(team)],
        holds=all(check.holds for check in checks), checks=checks, workbook=workbook, whole_detail=whole_detail,
        dispute_until=team.statements[0].get("dispute_until"),
        months=team.months, month_chart=html.stacked([short_month(one["period"]) for one in team.months], values, parts, 420) if len(values) > 1 else None,
        day_chart=html.stacked([_day(day) for day, _ in team.days], days, parts[:2], 640) if days else None, day_names=parts,
        resources=_bars(figures.by_resource(team.con)), projects=_bars(figures.by_project(team.con)),
        sentences=story.sentences(team), moves=_moves(team), statements=[_statement(team, one) for one in team.statements],
        shared=[_pot(team.period, pot) for pot in team.pots], shared_total=sum((pot["amount"] for pot in team.pots), ZERO),
        used=team.used,
        rules=figures.sentences(team.con, **team.scope), notes=_notes(team), grain=team.detail.grain, short_month=short_month,
    )  # fmt: skip


def _tile(tile: story.Tile) -> dict[str, str]:
    if tile.value is None:
        return {"label": tile.label, "value": "n/a", "note": tile.note}
    if tile.kind == "share":
        return {"label": tile.label, "value": f"{tile.value:.1%}", "note": tile.note}
    cents = words.half_up(tile.value) + 0
    sign = "−" if cents < 0 else "+" if tile.kind == "change" and cents else ""
    return {"label": tile.label, "value": f"{sign}{symbol(tile.currency)}{abs(cents):,.2f}", "note": tile.note}


def _day(day: date) -> str:
    return str(day.day)


def _bars(ranked: list[tuple[str, Decimal]]) -> list[dict[str, Any]]:
    """The largest groups, all others as one, and how wide each is beside the largest."""
    shown = ranked if len(ranked) <= TOP else [*ranked[: TOP - 1], (f"{len(ranked) - TOP + 1} others", sum((amount for _, amount in ranked[TOP - 1 :]), ZERO))]
    largest = max((abs(amount) for _, amount in shown), default=ZERO) or Decimal(1)
    return [{"name": name, "amount": amount, "width": f"{abs(amount) * 100 / largest:.1f}"} for name, amount in shown]


def _moves(team: Team) -> list[dict[str, Any]]:
    """What moved most and why, all others, and the sum."""
    top, rest = team.moves[:TOP], team.moves[TOP:]
    rows = [{"name": story.line(move), **{part: move[part] for part in story.AMOUNTS}} for move in top]
    if rest:
        rows.append({"name": f"{len(rest)} other lines", **{part: sum((move[part] for move in rest), ZERO) for part in story.AMOUNTS}})
    return [*rows, {"name": "All lines", **{part: sum((row[part] for row in rows), ZERO) for part in story.AMOUNTS}}]


def _statement(team: Team, statement: Row) -> dict[str, Any]:
    """One statement: its head, its sections of lines with subtotals, and what ended."""
    sections, continued = [], ZERO
    for heading, lines in team.sections(statement):
        before = sum((line["prior_amount"] for line in lines), ZERO)
        continued += before
        sections.append({"heading": heading, "lines": [_line(line) for line in lines], "list_cost": _known(lines, "list_cost"), "discount": _known(lines, "discount"),
                         "amount": sum((line["amount"] for line in lines), ZERO), "prior": before})  # fmt: skip
    return {**statement, "sections": sections, "ended": statement["prior_amount"] - continued}


def _known(lines: list[Row], key: str) -> Decimal | None:
    known = [line[key] for line in lines if line[key] is not None]
    return sum(known, ZERO) if known else None


def _line(line: Row) -> dict[str, Any]:
    quantity, rate = line["quantity"], None
    scale, unit = words.unit(line["unit"], line["amount"] / quantity if quantity else None)
    if quantity:
        quantity, rate = quantity / scale, line["amount"] * scale / quantity
    return {
        "charge": words.charge(line), "service": line["service"], "model": line["model"], "quantity": quantity or None, "unit": unit if quantity else None,
        "rate": f"{rate:,.4f}".replace("-", "−") if rate else "–", "list_cost": line["list_cost"], "discount": line["discount"], "amount": line["amount"],
        "prior": line["prior_amount"], "change": line["amount"] - line["prior_amount"], "gl_account": line["gl_account"],
    }  # fmt: skip


def _pot(period: str, pot: Row) -> dict[str, Any]:
    """A pot in words; without units only what the team carries of it."""
    units, total = pot["units"], pot["driver_total"]
    share = units / total if units is not None and total else pot["amount"] / pot["pool_cost"] if pot["pool_cost"] else None
    return {
        "pool": words.plain(pot["cost_pool"]), "what": ": ".join(part for part in (pot["pot"], pot["service"]) if part), "basis": driver(pot["driver"]) if pot["driver"] else "named owner",
        "days": days_of(period, pot["first_day"], pot["last_day"]), "cost": pot["pool_cost"], "units": units, "total": total,
        "share": f"{share * 100:,.2f}%" if share is not None else "–", "amount": pot["amount"],
    }  # fmt: skip


def _notes(team: Team) -> list[tuple[str, str]]:
    """The words that the page uses, as the workbook explains them."""
    known = dict(controls.READING)
    covered, recovery = any(line["covered"] for line in team.lines), any(line["category"] == "recovery" for line in team.lines)
    left_out = {"Paid for through the rate card": not covered, "Recovery": not recovery}
    told = {"Paid for through the rate card": COVERED, "Recovery": RECOVERY}
    return [(name, told.get(name) or known[name]) for name in _NOTES if not left_out.get(name)]
