"""The pages for people: the door for finance (every month, its state, its workbooks, what needs a look) and the rate card.

Each is one file that needs no network. The first has a few lines of script, named by their hash, to filter by typing; it works without.
"""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
from markupsafe import Markup

from pipelines.home import asset
from pipelines.render import figures, html, rates, words
from pipelines.render.figures import ZERO, Row
from pipelines.render.names import month, period_name, short_month

MOST_EXCEPTIONS = 12
_KINDS = {".html": "Page", ".xlsx": "Excel", ".parquet": "Rows"}
_WORDS = {
    "open": ("Open", "A draft, rewritten every night"),
    "soft_closed": ("In review", "Over, but not closed: drafts with accruals"),
    "closed": ("Closed", "Issued; never changes"),
    "reopened": ("Reopened", "A new version is being made"),
}


def page(con: duckdb.DuckDBPyConnection, files: list[dict[str, Any]], week: str = "", digests: list[tuple[str, str]] | None = None) -> str:
    """The HTML of reports/index.html. `files`: every issued file (period, version, state, team_id, name, href, bytes, sha256).
    `digests`: (team, href) of the pages about `week`.
    """
    statements = figures.rows(con, "from statements order by period, version, team_id, cost_center")
    periods = [_period(con, period, statements, files) for period in figures.rows(con, "from periods order by period desc")]
    for one, earlier in zip(periods, [*periods[1:], None], strict=True):
        before = one["before"] = earlier["total"] if earlier and earlier["version"] is not None else None
        one["change"] = "the first month" if before is None else words.change(one["total"], before, one["so_far"])
    chart = _chart(periods)
    currency = statements[-1]["currency"] if statements else ""
    rated = con.execute("select count(*) > 0 from rate_card").fetchall()[0][0]
    script = asset("reports", "templates", "filter.js").read_text(encoding="utf-8")
    script_hash = b64encode(sha256(script.encode("utf-8")).digest()).decode("ascii")
    return html.render("index.html.j2", periods=periods, chart=chart, currency=currency, rated=rated, week=week, digests=sorted(digests or []), script=Markup(script), script_hash=script_hash)


def rate_card(con: duckdb.DuckDBPyConnection) -> str:
    """The HTML of reports/rate-card.html."""
    return html.render("rate-card.html.j2", **rates.page_parts(con))


def _period(con: duckdb.DuckDBPyConnection, period: Row, statements: list[Row], files: list[dict[str, Any]]) -> Row:
    """One month: its newest version's totals per team, all its files by version, exceptions and reconciliation."""
    label = period["period"]
    mine = [s for s in statements if s["period"] == label]
    latest = max((s["version"] for s in mine), default=None)
    issued = sorted((f for f in files if f["period"] == label), key=lambda f: f["name"])
    links = {(f["version"], f["team_id"], Path(f["name"]).suffix): f for f in issued}
    teams: dict[str, Row] = {}
    for s in (s for s in mine if s["version"] == latest):
        team = teams.setdefault(
            s["team_id"],
            {"name": s["team_name"], "mode": s["mode"], "currency": s["currency"], "total": ZERO, "prior": ZERO, "direct": ZERO, "shared": ZERO, "other": ZERO, "id": s["team_id"],
             "files": [(word, links[latest, s["team_id"], kind]) for kind, word in _KINDS.items() if (latest, s["team_id"], kind) in links]},
        )
        team["total"] += s["total_amount"]
        team["prior"] += s["prior_amount"]
        team["direct"] += s["direct_amount"]
        team["shared"] += s["shared_amount"]
        team["other"] += s["adjustment_amount"] + s["recovery_amount"]
    so_far = figures.so_far(con, label, mine[-1]["issued_on"]) if mine else None
    largest = max((abs(t["total"]) for t in teams.values()), default=ZERO) or Decimal(1)
    for team in teams.values():
        team["width"] = f"{abs(team['total']) * 100 / largest:.1f}"
        team["change"] = words.change(team["total"], team["prior"], so_far)
    word, meaning = _WORDS.get(period["state"], (period["state"], ""))
    found = figures.exceptions(con, label)
    for one in found:
        one["kind"], one["what"] = words.state(one["kind"]), words.subject(one)
    total = sum((t["total"] for t in teams.values()), ZERO)
    prior = sum((t["prior"] for t in teams.values()), ZERO)
    kinds = {kind: sum((t[kind] for t in teams.values()), ZERO) for kind in ("direct", "shared", "other")}
    older = sorted({f["version"] for f in issued} - {latest}, reverse=True)
    return {
        "label": label, "name": month(label), "whole_name": period_name(label, period["fiscal_period"], period["starts_on"], period["ends_on"]), "state": period["state"], "word": word, "meaning": meaning, "closed_on": period["closed_on"],
        "version": latest, "as_of": mine[-1]["issued_on"] if mine else None, "total": total, "prior": prior, "so_far": so_far,
        "teams": sorted(teams.values(), key=lambda t: (-t["total"], t["name"])), "company": links.get((latest, None, ".xlsx")),
        "issued": [f for f in issued if f["version"] == latest],
        "journals": [f for f in issued if f["version"] == latest and f.get("kind") == "journal"],
        "older": [{"version": v, "files": [f for f in issued if f["version"] == v]} for v in older],
        "disputes": [_dispute(one, teams) for one in figures.disputes(con, period=label) if one["period"] == label],
        "exceptions": found[:MOST_EXCEPTIONS], "more": max(0, len(found) - MOST_EXCEPTIONS), "states": _states(con, label),
        "currency": mine[0]["currency"] if mine else "", **kinds,
    }  # fmt: skip


def _dispute(one: Row, teams: dict[str, Row]) -> Row:
    """Whose it is, how much, and what became of it; who said what stays in the company workbook."""
    said = f"{words.plain(one['state'])} {'on' if one['resolved_on'] else 'since'} {one['resolved_on'] or one['opened_on']}"
    if one["state"] == "open" and one["holds_until"]:
        said += f", holds up the close until {one['holds_until']}"
    if one["adjustment_period"]:
        said += f", booked in {one['adjustment_period']}"
    return {"id": one["dispute_id"], "team": teams[one["team_id"]]["name"] if one["team_id"] in teams else one["team_id"], "said": said, "amount": one["amount"]}


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


def _chart(periods: list[Row]) -> html.Chart | None:
    """Up to thirteen months, oldest first; a draft has a star."""
    shown = [p for p in reversed(periods[:13]) if p["version"] is not None]
    if not shown:
        return None
    labels = [short_month(p["label"]) + ("*" if p["version"] == 0 else "") for p in shown]
    parts = [(p["direct"], p["shared"], p["other"]) for p in shown]
    return html.stacked(labels, parts, ("own usage", "share of common cost", "corrections and recovery"), 720, 210)
