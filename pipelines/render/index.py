"""The pages for people: the door for finance (every month, its state, its workbooks, what needs a look) and the rate card.

Each is one file without script or network.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.home import asset
from pipelines.render import figures, rates, words
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import cell_text, month

MOST_EXCEPTIONS = 12
_WORDS = {
    "open": ("Open", "A draft, rewritten every night"),
    "soft_closed": ("In review", "Over, but not closed: drafts with accruals"),
    "closed": ("Closed", "Issued; never changes"),
    "reopened": ("Reopened", "A new version is being made"),
}


def page(con: duckdb.DuckDBPyConnection, files: list[dict[str, Any]]) -> str:
    """The HTML of reports/index.html. `files`: every workbook (period, version, state, team_id, name, href, bytes, sha256)."""
    statements = figures.rows(con, "from statements order by period, version, team_id, cost_center")
    periods = [_period(con, period, statements, files) for period in figures.rows(con, "from periods order by period desc")]
    months = _months(periods)
    currency = statements[-1]["currency"] if statements else ""
    rated = con.execute("select count(*) > 0 from rate_card").fetchall()[0][0]
    return _render("index.html.j2", periods=periods, months=months, currency=currency, rated=rated)


def rate_card(con: duckdb.DuckDBPyConnection) -> str:
    """The HTML of reports/rate-card.html."""
    return _render("rate-card.html.j2", **rates.page_parts(con))


def _render(template: str, **parts: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(str(asset("reports", "templates"))), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"money": _money, "rate": _rate, "size": _size, "clean": cell_text, "href": lambda text: quote(text, safe="/")}
    return environment.get_template(template).render(**parts)


def _period(con: duckdb.DuckDBPyConnection, period: Row, statements: list[Row], files: list[dict[str, Any]]) -> Row:
    """One month: its newest version's totals per team, all its files by version, exceptions and reconciliation."""
    label = period["period"]
    mine = [s for s in statements if s["period"] == label]
    latest = max((s["version"] for s in mine), default=None)
    links = {(f["version"], f["team_id"]): f for f in files if f["period"] == label}
    teams: dict[str, Row] = {}
    for s in (s for s in mine if s["version"] == latest):
        team = teams.setdefault(
            s["team_id"],
            {"name": s["team_name"], "mode": s["mode"], "currency": s["currency"], "total": ZERO, "prior": ZERO, "direct": ZERO, "shared": ZERO, "other": ZERO, "file": links.get((latest, s["team_id"]))},
        )
        team["total"] += s["total_amount"]
        team["prior"] += s["prior_amount"]
        team["direct"] += s["direct_amount"]
        team["shared"] += s["shared_amount"]
        team["other"] += s["adjustment_amount"] + s["recovery_amount"]
    largest = max((abs(t["total"]) for t in teams.values()), default=ZERO) or Decimal(1)
    for team in teams.values():
        team["width"] = f"{abs(team['total']) * 100 / largest:.1f}"
        team["change"] = words.change(team["total"], team["prior"])
    word, meaning = _WORDS.get(period["state"], (period["state"], ""))
    found = figures.exceptions(con, label)
    for one in found:
        one["kind"], one["what"] = words.state(one["kind"]), words.subject(one)
    total = sum((t["total"] for t in teams.values()), ZERO)
    prior = sum((t["prior"] for t in teams.values()), ZERO)
    kinds = {kind: sum((t[kind] for t in teams.values()), ZERO) for kind in ("direct", "shared", "other")}
    older = sorted({f["version"] for f in links.values()} - {latest}, reverse=True)
    return {
        "label": label, "name": month(label), "state": period["state"], "word": word, "meaning": meaning, "closed_on": period["closed_on"],
        "version": latest, "as_of": mine[-1]["issued_on"] if mine else None, "total": total, "prior": prior, "change": words.change(total, prior),
        "teams": sorted(teams.values(), key=lambda t: (-t["total"], t["name"])), "company": links.get((latest, None)),
        "older": [{"version": v, "files": [f for (version, _), f in sorted(links.items(), key=lambda i: i[1]["name"]) if version == v]} for v in older],
        "exceptions": found[:MOST_EXCEPTIONS], "more": max(0, len(found) - MOST_EXCEPTIONS), "states": _states(con, label),
        "currency": mine[0]["currency"] if mine else "", **kinds,
    }  # fmt: skip


def _states(con: duckdb.DuckDBPyConnection, period: str) -> list[Row]:
    """Reconciliation by state: how many comparisons and how much billed or metered money."""
    sums: dict[str, list[Any]] = defaultdict(lambda: [0, ZERO])
    for one in figures.reconciled(con, period):
        sums[one["state"]][0] += one["items"]
        sums[one["state"]][1] += one["billed_cost"] or one["metered_cost"] or ZERO
    whole = sum((abs(amount) for _, amount in sums.values()), ZERO)
    return [
        {"state": words.state(state), "good": state == "matched", "items": items, "amount": amount, "share": f"{abs(amount) * 100 / whole:.1f}" if whole else "0"}
        for state, (items, amount) in sorted(sums.items(), key=lambda item: (item[0] != "matched", -abs(item[1][1])))
    ]


def _months(periods: list[Row]) -> list[Row]:
    """The columns of the trend, oldest first: up to thirteen months, each with its parts from the bottom up."""
    shown = [p for p in reversed(periods[:13]) if p["version"] is not None]
    parts = [[(name, max(p[kind], ZERO)) for name, kind in (("own", "direct"), ("shared", "shared"), ("other", "other"))] for p in shown]
    top = max((sum((size for _, size in each), ZERO) for each in parts), default=ZERO) or Decimal(1)
    return [
        {"name": p["name"], "label": p["label"], "own": p["direct"], "shared": p["shared"], "other": p["other"], "total": p["total"], "draft": p["version"] == 0, **_column(each, top)}
        for p, each in zip(shown, parts, strict=True)
    ]


def _column(parts: list[tuple[str, Decimal]], top: Decimal) -> Row:
    """Where the parts of one column stand, in the picture's units: 150 high, on a base line at 170."""
    drawn, at = [], Decimal(170)
    for name, size in parts:
        height = size * 150 / top
        at -= height
        drawn.append({"name": name, "y": f"{at:.1f}", "height": f"{height:.1f}"})
    return {"parts": drawn, "label_y": f"{at - 6:.1f}"}


def _money(amount: Decimal | None) -> str:
    return "–" if amount is None else f"{words.half_up(amount) + 0:,.2f}".replace("-", "−")


def _rate(amount: Decimal) -> str:
    """All digits that say something, at least two of them after the point."""
    whole, _, digits = f"{amount:,f}".partition(".")
    return f"{whole}.{digits.rstrip('0').ljust(2, '0')}"


def _size(number: int) -> str:
    return f"{max(1, round(number / 1024)):,} kB"
