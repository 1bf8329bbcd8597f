"""What people decide about a month: they review and approve its figures, dispute statement lines, and open it again.

Each decision is one entry of the books, made over the figures that were published when it was made.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from pipelines import models
from pipelines.books import Entry
from pipelines.errors import Refused
from pipelines.policy import Period
from pipelines.policy.checks import span
from pipelines.run import Run

NIGHT = "the night"  # prepares what people review
LONGEST = 1000  # characters of a reason


def person(name: str) -> str:
    """A name as it is written into the books; `Refused` where nobody could be known by it."""
    return _words(name, "--actor", "name the person who decides")


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, however they are written."""
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _words(text: str, where: str, fix: str) -> str:
    words = " ".join(text.split())
    if not words:
        raise Refused("is empty", where, fix)
    if len(words) > LONGEST or any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co") for letter in words):
        raise Refused(f"is longer than {LONGEST} characters, or has characters that cannot be seen", where, "write it in plain words")
    return words


# reopening -----------------------------------------------------------------------------------------------------------


def reopen(run: Run, period: Period, actor: str, reason: str) -> Entry:
    """Let a closed month have a next version: today's policy and what arrived since become its delta."""
    state = run.books.state(period.label)
    if state != "closed":
        raise Refused(f"{period.label} is {state.replace('_', '-')}", "reopen", "only a closed month can be reopened")
    facts = {
        "period": period.label,
        "version": run.books.next_version(period.label),
        "through": run.through,
        "actor": person(actor),
        "reason": _words(reason, "--reason", "say why the month is opened again"),
    }
    return run.books.append("reopened", facts)


# approvals -----------------------------------------------------------------------------------------------------------


def approve(run: Run, period: Period, step: str, actor: str, published: duckdb.DuckDBPyConnection) -> Entry:
    """Record that a person has reviewed, or approved, the draft of a month that is over, by a hash of its figures."""
    label, who = period.label, person(actor)
    if run.books.state(label) == "closed":
        raise Refused(f"{label} is closed", "approve", f"a closed month is final; for another version: apportion reopen {label}")
    if run.through < period.end:
        raise Refused(f"{label} is not over as of {run.through}", "approve", "review it after its last day")
    figures = _figures(published, label)
    if figures is None:
        raise Refused(f"{label} has no statement yet", "approve", "run: apportion nightly")
    if same_person(who, NIGHT):
        raise Refused("the night prepares the figures: it cannot approve them", "--actor", "name the person who decides")
    given = {entry.facts["step"]: entry.facts["actor"] for entry in _approvals(run, label) if entry.facts["figures"] == figures}
    if step in given:
        raise Refused(f"{label} has its {_noun(step)}, by {given[step]}", "approve", "nothing was changed")
    other = {"review": "approve", "approve": "review"}[step]
    if other in given and same_person(given[other], who):
        raise Refused(f"{given[other]} gave the {_noun(other)} of {label}", "--actor", f"the {_noun(step)} is another person's")
    if step == "approve" and run.policy.close.approvals == "required" and "review" not in given:
        raise Refused(f"nobody has reviewed these figures of {label}", "approve", f"first: apportion approve {label} --step review --actor NAME")
    facts = {
        "period": label, "version": run.books.next_version(label), "step": step, "actor": who, "through": run.through, "figures": figures,
    }  # fmt: skip
    return run.books.append("approved", facts)


def approval_reasons(run: Run, label: str) -> Iterator[Refused]:
    """What the policy still asks for before the month may close."""
    if run.policy.close.approvals == "none":
        return
    figures = _figures(run.con, label)
    entries = _approvals(run, label)
    given: dict[str, str] = {}
    for step in ("review", "approve"):
        mine = [entry.facts for entry in entries if entry.facts["step"] == step]
        fix = f"apportion approve {label} --step {step} --actor NAME"
        if any(facts["figures"] == figures for facts in mine):
            given[step] = next(facts["actor"] for facts in mine if facts["figures"] == figures)
        elif mine:
            last = mine[-1]
            changed = f"the {_noun(step)} by {last['actor']} as of {last['through']} no longer counts: the figures changed since"
            yield Refused(f"{label} cannot close: {changed}", "close", fix)
        else:
            yield Refused(f"{label} cannot close: its {_noun(step)} is missing", "close", fix)
    if len(given) == 2 and same_person(*given.values()):  # only books written elsewhere could say so
        yield Refused(f"{label} cannot close: {given['review']} gave both the review and the approval", "close", "let another person approve")


def _approvals(run: Run, label: str) -> list[Entry]:
    """Reviews and approvals of the version that the month's next close issues."""
    version = run.books.next_version(label)
    return [entry for entry in run.books.of("approved") if (entry.facts["period"], entry.facts["version"]) == (label, version)]


def _figures(con: duckdb.DuckDBPyConnection, label: str) -> str | None:
    model = next(model for model in models.stage("close") if model.name == "figures")
    found = con.execute(f"select figures from ({model.sql}) where period = ? and version = 0", [label]).fetchone()
    return found[0] if found else None


def _noun(step: str) -> str:
    return {"review": "review", "approve": "approval"}[step]


# disputes ------------------------------------------------------------------------------------------------------------


def dispute(
    run: Run, period: Period, team: str, line_nos: list[int], amount: Decimal | None, code: str, text: str, actor: str,
    published: duckdb.DuckDBPyConnection,
) -> Entry:  # fmt: skip
    """Open a dispute of lines of a team's newest statement: of all they come to, or of a part of it in whole cents."""
    label, days = period.label, run.policy.close.disputes.days
    draft = run.books.state(label) != "closed"
    version = 0 if draft else run.books.next_version(label) - 1
    lines = _lines(published, label, version, team, line_nos=line_nos)
    missing = sorted(set(line_nos) - {line["line_no"] for line in lines})
    if missing:
        where = f"{team} {label}"
        raise Refused(f"line {missing[0]} is not on the statement", where, f"see apportion explain {team} {label}")
    if len({(line["cost_center"], line["legal_entity"]) for line in lines}) > 1:
        raise Refused("the lines are of two cost centers", f"{team} {label}", "dispute each statement for itself")
    head = published.execute(
        "select statement_id, dispute_until from statements where period = ? and version = ? and team_id = ? and cost_center is not distinct from ?",
        [label, version, team, lines[0]["cost_center"]],
    ).fetchall()[0]
    if head[1] is not None and run.through > head[1]:
        raise Refused(f"{head[0]} could be disputed until {head[1]}", "dispute", f"for a correction: apportion reopen {label}")
    ids = sorted(line["line_id"] for line in lines)
    free = sum(line["amount"] for line in lines) - _claimed(run, label, ids)
    asked = amount if amount is not None else free
    if asked <= 0 or asked > free or asked != asked.quantize(Decimal("0.01")):
        raise Refused(f"{asked:,f} cannot be disputed", "--amount", f"name whole cents, more than 0 and at most {max(free, Decimal(0)):,.2f}: the lines less what is disputed already")
    facts = {
        "dispute_id": f"D-{len(run.books.of('disputed')) + 1}",
        "period": label, "version": version, "team_id": team, "cost_center": lines[0]["cost_center"], "legal_entity": lines[0]["legal_entity"],
        "statement_id": head[0], "line_ids": ids, "line_nos": sorted(line["line_no"] for line in lines), "amount": f"{asked:.2f}",
        "currency": lines[0]["currency"], "reason_code": code, "reason": _words(text, "--text", "say what is wrong"), "actor": person(actor),
        "through": run.through, "holds_until": run.through + timedelta(days=days),
    }  # fmt: skip
    return run.books.append("disputed", facts)


def resolve(
    run: Run, dispute_id: str, state: str, to: str | None, text: str | None, actor: str, published: duckdb.DuckDBPyConnection
) -> Entry:
    """Accept, reject or withdraw an open dispute; accepted, its amount moves to the team `to`, else to the platform team."""
    opened = next((e.facts for e in run.books.of("disputed") if _bare(e.facts["dispute_id"]) == _bare(dispute_id)), None)
    if opened is None:
        raise Refused(f"no dispute is called {dispute_id}", "--resolve", "see apportion status for the open ones")
    done = next((e.facts for e in run.books.of("dispute_resolved") if e.facts["dispute_id"] == opened["dispute_id"]), None)
    if done:
        raise Refused(f"{opened['dispute_id']} was {done['state']} by {done['actor']} on {done['through']}", "--resolve", "nothing was changed")
    who = person(actor)
    if state != "withdrawn" and same_person(who, opened["actor"]):
        raise Refused(f"{opened['actor']} opened {opened['dispute_id']}", "--actor", "another person decides it; who opened it can withdraw it")
    if state == "withdrawn" and not same_person(who, opened["actor"]):
        raise Refused(f"{opened['actor']} opened {opened['dispute_id']}", "--actor", "only who opened it withdraws it; another person can --reject it")
    facts = {
        "dispute_id": opened["dispute_id"], "period": opened["period"], "state": state, "actor": who, "through": run.through,
        "reason": _words(text, "--text", "say why") if text is not None else None,
    }  # fmt: skip
    if state == "accepted":
        facts |= _adjustment(run, opened, to, published)
    return run.books.append("dispute_resolved", facts)


def dispute_reasons(run: Run, label: str) -> Iterator[Refused]:
    """Open disputes of the month that still hold up its close."""
    if run.policy.close.disputes.block_close:
        for facts in _open_disputes(run, label):
            if run.through <= date.fromisoformat(facts["holds_until"]):
                what = f"{facts['dispute_id']} of {facts['team_id']} over {facts['amount']} {facts['currency']} is open until {facts['holds_until']}"
                yield Refused(f"{label} cannot close: {what}", "close", f"apportion dispute --resolve {facts['dispute_id']} --accept or --reject")


def _open_disputes(run: Run, label: str) -> list[dict[str, Any]]:
    resolved = {entry.facts["dispute_id"] for entry in run.books.of("dispute_resolved")}
    return [e.facts for e in run.books.of("disputed") if e.facts["period"] == label and e.facts["dispute_id"] not in resolved]


def _claimed(run: Run, label: str, line_ids: list[str]) -> Decimal:
    """What other disputes of the same lines ask for, or were given."""
    resolved = {entry.facts["dispute_id"]: entry.facts["state"] for entry in run.books.of("dispute_resolved")}
    others = (
        e.facts for e in run.books.of("disputed")
        if e.facts["period"] == label and resolved.get(e.facts["dispute_id"], "accepted") == "accepted" and set(e.facts["line_ids"]) & set(line_ids)
    )  # fmt: skip
    return sum((Decimal(facts["amount"]) for facts in others), Decimal(0))


def _lines(con: duckdb.DuckDBPyConnection, label: str, version: int, team: str, **chosen: list[Any]) -> list[dict[str, Any]]:
    """Lines of a statement, by line_no or line_id."""
    ((key, values),) = chosen.items()
    names = ("line_no", "line_id", "cost_center", "legal_entity", "amount", "currency")
    column = {"line_nos": "line_no", "line_ids": "line_id"}[key]
    found = con.execute(
        f"select {', '.join(names)} from statement_lines where period = ? and version = ? and team_id = ? and {column} in (select unnest(?)) order by line_no",
        [label, version, team, values],
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in found]


def _adjustment(run: Run, opened: dict[str, Any], to: str | None, published: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What an accepted dispute moves: the amount, and the part of the lines' cost that it is of them.

    A wrong rate is no wrong owner: only what is charged moves then, and every cost stays where it arose.
    """
    label = opened["period"]
    period = next(period for period in run.periods if period.label == label)
    last_day = period.end - timedelta(days=1)
    target = to or run.policy.company.platform_team
    if target == opened["team_id"]:
        raise Refused(f"{target} is the team that disputes", "--to", "name the team that carries it instead, or unallocated")
    cost_center, legal_entity = _carried_by(run, target, last_day, opened["legal_entity"])
    version = 0 if run.books.state(label) != "closed" else run.books.next_version(label) - 1
    lines = _lines(published, label, version, opened["team_id"], line_ids=opened["line_ids"])
    stated, amount = sum((line["amount"] for line in lines), Decimal(0)), Decimal(opened["amount"])
    if stated < amount:
        fix = "reject or withdraw it, and dispute the statement as it is now"
        raise Refused(f"the lines of {opened['dispute_id']} now come to {stated:,.2f}, less than {amount:,.2f}", "--accept", fix)
    columns = ("list_cost", "contracted_cost", "effective_cost", "billed_cost")
    costs = published.execute(
        f"""
        select {', '.join(f"coalesce(sum(l.{c} * case when l.billing_currency = $currency then 1 else f.rate end), 0)::decimal(38, 12)" for c in columns)}
        from ledger l
        left join exchange_rates f on f.period = l.original_period and f.currency = l.billing_currency
        where l.period = $period and l.line_id in (select unnest($ids))
        """,
        {"period": label, "ids": opened["line_ids"], "currency": opened["currency"]},
    ).fetchall()[0]
    moved = {
        column: "0" if opened["reason_code"] == "wrong_rate" else _part(cost, amount, stated) for column, cost in zip(columns, costs, strict=True)
    }
    return {
        **{key: opened[key] for key in ("team_id", "cost_center", "legal_entity", "currency", "reason_code", "amount")},
        "charge_id": f"dispute-{opened['dispute_id']}", "usage_date": last_day, **moved,
        "to_team_id": target, "to_cost_center": cost_center, "to_legal_entity": legal_entity,
    }  # fmt: skip


def _part(cost: Decimal, amount: Decimal, stated: Decimal) -> str:
    """cost x amount / stated, in whole pico-units toward zero."""
    units = int(abs(cost).scaleb(12)) * int(amount * 100) // int(stated * 100)
    return f"{Decimal(units if cost >= 0 else -units).scaleb(-12):f}"


def _carried_by(run: Run, team_id: str, day: date, legal_entity: str) -> tuple[str | None, str]:
    """Cost center and legal entity of a team on a day; what is unallocated stays with the entity that had it."""
    if team_id == "unallocated":
        return None, legal_entity
    team = next((team for team in run.policy.teams.teams if team.id == team_id), None)
    if team is None:
        raise Refused(f"no team is called {team_id}", "--to", "name a team of teams.yaml, or unallocated")
    center = next((one.id for one in team.cost_center if span(one)[0] <= day < span(one)[1]), None)
    entities = {one.id: one.legal_entity for one in run.policy.company.cost_centers}
    return center, entities.get(center, legal_entity) if center else legal_entity
