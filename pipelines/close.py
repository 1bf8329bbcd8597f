"""CLOSE: what is booked in which period, statements in cents, soft-close by the calendar, and the close itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipelines import checks, models, policy
from pipelines.books import Entry
from pipelines.errors import AllRefused, Refused
from pipelines.normalize import landed_table
from pipelines.policy import Period
from pipelines.policy.edits import edits
from pipelines.review import approval_reasons, dispute_reasons
from pipelines.run import Run, Scope, all_files, undated_until
from pipelines.warehouse import transaction, write_parquet

_FROZEN = ("charges", "ledger", "statement_lines", "statements", "journal_lines")


def book(run: Run, scopes: list[Scope]) -> None:
    """Fills periods, charges, ledger, statements and their tables: closed books, corrections, disputes and open drafts."""
    run.say("book charges, ledger and statements")
    con = run.con
    policy.register(con, run.policy)
    landed_table(con, "landed_fx", "fx", all_files(run, "fx"))
    _soft_close(run)
    periods_table(run)
    closed = run.books.closed()
    never_closed = [p.label for p in run.periods if p.label not in closed]
    if not never_closed:
        raise Refused("every period is closed", "data/books", "run the night for a later day")
    _load_books(run)
    _destinations(run, scopes, never_closed[0])
    _frozen_rates(run)
    _people(run)
    _policy_edits(run, scopes)
    with transaction(con):
        for model in models.stage("close"):
            if model.name == "statement_lines":
                _require_rates(run)
            models.replace_all(con, model, {"open": never_closed, "through": run.through})


def close_period(run: Run, label: str, actor: str) -> Entry:
    """Freeze the next version of a period in the books; refused, with every reason, while something stands in the way."""
    period = period_of(run, label)
    if run.books.state(label) == "closed":
        fix = f"what arrives now becomes a correction in the earliest open month; for another version: apportion reopen {label}"
        raise Refused(f"{label} is already closed", "close", fix)
    reasons = list(_reasons(run, period))
    if reasons:
        raise AllRefused(reasons)
    version = run.books.next_version(label)
    totals = run.con.execute(
        "select legal_entity, currency, sum(amount)::varchar from statement_lines where period = ? and version = 0 group by all order by 1, 2",
        [label],
    ).fetchall()
    until = undated_until(run.books.closed()[label][-1]) if version > 1 else run.through
    reaches_back = run.policy.reaches_back(period)
    facts = {
        "period": label,
        "version": version,
        "starts_on": period.start,
        "ends_on": period.end,
        "fiscal_period": _fiscal(run, period),
        "through": run.through,
        "actor": actor,
        "inputs": run.inputs(period, reaches_back, until),
        "undated_until": until,
        "reaches_back": reaches_back,
        "terms": run.policy.terms_beyond(period),
        "policy_fingerprint": run.policy.fingerprint,
        "dispute_until": run.through + timedelta(days=run.policy.close.disputes.days),
        "rates": _rates(run, label),
        "totals": [{"legal_entity": e, "currency": c, "amount": a} for e, c, a in totals],
    }
    return run.books.append("closed", facts, lambda folder: _freeze(run, label, version, folder))


def period_of(run: Run, label: str) -> Period:
    """The period of this label; `Refused` where the nights have not reached it."""
    period = next((p for p in run.periods if p.label == label), None)
    if period is None:
        first = run.periods[0].label
        fix = f"the first period is {first}" if label < first else "run the night past its last day first"
        raise Refused(f"{label} is not a period as of {run.through}", "periods", fix)
    return period


def _reasons(run: Run, period: Period) -> Iterable[Refused]:
    """Everything that keeps the period from closing."""
    label = period.label
    for earlier in run.periods:
        if earlier.start < period.start and (state := run.books.state(earlier.label)) != "closed":
            why = f"{earlier.label} is {state.replace('_', '-')}" if state != "open" else f"{earlier.label} is still open"
            yield Refused(f"{label} cannot close before {earlier.label}: {why}", "close", f"close {earlier.label} first")
    if run.through < period.end:
        yield Refused(f"{label} is not over as of {run.through}", "close", "close it after its last day")
    for check in checks.run_checks(run, close=label):
        if check.blocks_close and check.bad_rows:
            yield Refused(f"{label} cannot close: {check.name}: {check.summary}", "close", f"{check.description} See apportion check")
    yield from approval_reasons(run, label)
    yield from dispute_reasons(run, label)


def _freeze(run: Run, label: str, version: int, folder: Path) -> None:
    """What the version adds to the books: its new charges and ledger rows, all of its statements, the policy and the prices."""
    selects = {
        "charges": "select * from charges where period = $period and charge_id not in (select charge_id from booked_charges) order by charge_id",
        "ledger": "select * exclude (since_version) replace ($version::integer as version) from ledger"
        " where period = $period and version = 0 and since_version = 0 order by ledger_id",
        "statement_lines": "select * replace ($version::integer as version) from statement_lines where period = $period and version = 0 order by all",
        "statements": "select * replace ($version::integer as version, 'FINAL' as state, replace(statement_id, '-draft', '-v' || $version) as statement_id)"
        " from statements where period = $period and version = 0 order by all",
        "journal_lines": "select * replace ($version::integer as version, replace(je_id, '-D-', '-V' || $version || '-') as je_id,"
        " replace(reference, '-draft', '-v' || $version) as reference)"
        " from journal_lines where period = $period and version = 0 and kind not in ('accrual', 'reversal') order by all",
    }
    _load_books(run)
    for name in _FROZEN:
        params: dict[str, Any] = {"period": label, **({"version": version} if "$version" in selects[name] else {})}
        write_parquet(run.con, selects[name], folder / f"{name}.parquet", params)
    shutil.copytree(run.home.policy, folder / "policy")
    shutil.copytree(run.home.list_prices, folder / "list_prices")


def _soft_close(run: Run) -> None:
    """On the calendar's working day the night soft-closes a month: drafts and accruals are issued, exchange rates stay, reviews begin."""
    for period in run.periods:
        if run.books.state(period.label) == "open" and run.through >= run.policy.soft_close_day(period):
            run.books.append("soft_closed", {"period": period.label, "through": run.through, "rates": run.landed_rates(period.label)})


def _rates(run: Run, label: str) -> dict[str, tuple[str, str | None]]:
    """The rates that the period's statements convert with."""
    found = run.con.execute("select currency, rate::varchar, rate_source from exchange_rates where period = ? order by 1", [label]).fetchall()
    return {currency: (rate, source) for currency, rate, source in found}


def periods_table(run: Run) -> None:
    """periods, period_events, closed_versions and versions_without_journal, as the books tell them."""
    con, closed = run.con, run.books.closed()
    soft = {entry.facts["period"]: entry.facts["through"] for entry in reversed(run.books.of("soft_closed"))}
    rows = []
    for period in run.periods:
        versions = closed.get(period.label, [])
        closed_on = versions[-1].facts["through"] if versions else None
        rows.append((period.label, _fiscal(run, period), period.start, period.end, run.books.state(period.label), len(versions), closed_on, soft.get(period.label)))
    con.execute(
        "create or replace table warehouse.main.periods(period varchar, fiscal_period varchar, starts_on date, ends_on date, state varchar,"
        " version integer, closed_on date, soft_closed_on date)"
    )
    con.executemany("insert into periods values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    con.execute(
        "create or replace table warehouse.main.period_events(number integer, period varchar, event varchar, version integer,"
        " through date, actor varchar, reason varchar)"
    )
    events = [
        (e.number, e.facts["period"], _event(e), e.facts.get("version"), e.facts["through"], e.facts.get("actor", "the night"), e.facts.get("reason"))
        for e in run.books.entries
        if "period" in e.facts
    ]
    if events:
        con.executemany("insert into period_events values (?, ?, ?, ?, ?, ?, ?)", events)
    con.execute("create or replace temp table closed_versions(period varchar, version integer, closed_on date, dispute_until date)")
    issued = [(label, e.facts["version"], e.facts["through"], e.facts.get("dispute_until")) for label, versions in closed.items() for e in versions]
    if issued:
        con.executemany("insert into closed_versions values (?, ?, ?, ?)", issued)
    con.execute("create or replace table warehouse.main.versions_without_journal(period varchar, version integer)")
    without = [(label, e.facts["version"]) for label, versions in closed.items() for e in versions if "journal_lines.parquet" not in e.files]
    if without:
        con.executemany("insert into versions_without_journal values (?, ?)", without)


def _fiscal(run: Run, period: Period) -> str | None:
    """What finance calls the period; one that was closed keeps the name on its statements."""
    versions = run.books.closed().get(period.label)
    return versions[-1].facts.get("fiscal_period") if versions else period.fiscal


def _event(entry: Entry) -> str:
    """What an entry of the books says happened."""
    if entry.kind == "approved":
        return {"review": "reviewed", "approve": "approved"}[entry.facts["step"]]
    return f"dispute_{entry.facts['state']}" if entry.kind == "dispute_resolved" else entry.kind


def _load_books(run: Run) -> None:
    """The rows of every closed version, as temp tables booked_*, with the columns of today."""
    entries = [entry for versions in run.books.closed().values() for entry in versions]
    for name, shape in BOOKED.items():
        run.con.execute(f"create or replace temp table booked_{name}({', '.join(f'{column} {kind}' for column, kind in shape.items())})")
        for entry in (entry for entry in entries if f"{name}.parquet" in entry.files):
            file = str(entry.path(f"{name}.parquet"))
            there = {row[0] for row in run.con.execute("describe select * from read_parquet(?)", [file]).fetchall()}
            columns = ", ".join(column for column in shape if column in there)
            run.con.execute(f"insert into booked_{name} by name select {columns} from read_parquet(?)", [file])


def _destinations(run: Run, scopes: list[Scope], earliest: str) -> None:
    """destinations: where what belongs to each period is booked, and of which periods the difference has to be taken again.

    A closed period's differences go to the earliest month that was never closed; those of a reopened one to itself, as part
    of its next version (`booking` tells versions of a month apart).
    """
    closed = run.books.closed()
    rows = []
    for scope in scopes:
        label, versions = scope.period.label, closed.get(scope.period.label, [])
        state = run.books.state(label)
        to = earliest if state == "closed" else label
        again = state == "reopened" or (scope.frozen and scope.inputs != versions[-1].facts["inputs"])
        rows.append((label, to, f"{label}-v{len(versions) + 1}" if state == "reopened" else to, again))
    run.con.execute("create or replace temp table destinations(original_period varchar, period varchar, booking varchar, is_recomputed boolean)")
    run.con.executemany("insert into destinations values (?, ?, ?, ?)", rows)


def _frozen_rates(run: Run) -> None:
    run.con.execute("create or replace temp table frozen_rates(period varchar, currency varchar, rate decimal(38, 12), rate_source varchar, frozen_on date)")
    rows = [
        (period.label, currency, rate, source, day)
        for period in run.periods
        for currency, (rate, source, day) in run.books.rates(period.label).items()
    ]
    if rows:
        run.con.executemany("insert into frozen_rates values (?, ?, ?, ?, ?)", rows)


def _policy_edits(run: Run, scopes: list[Scope]) -> None:
    """policy_edits: where today's policy says something else about a closed month than the one it was closed under."""
    run.con.execute("create or replace table warehouse.main.policy_edits(period varchar, file varchar, entries integer, example varchar)")
    same: dict[str, policy.Policy] = {}  # months are often closed under one policy
    for scope in scopes:
        closed = run.books.closed()[scope.period.label][-1] if scope.frozen else None
        if closed is None or closed.facts["policy_fingerprint"] == run.policy.fingerprint:
            continue
        under = closed.facts["policy_fingerprint"]
        then = same[under] = same.get(under) or scope.policy
        rows = [(scope.period.label, edit.file, edit.entries, edit.example) for edit in edits(then, run.policy, scope.period)]
        if rows:
            run.con.executemany("insert into policy_edits values (?, ?, ?, ?)", rows)


def _people(run: Run) -> None:
    """approval_entries, dispute_entries and accepted_disputes: what people decided, as the books tell it."""
    approvals = [{"number": e.number, **e.facts} for e in run.books.of("approved")]
    resolved = {e.facts["dispute_id"]: e.facts for e in run.books.of("dispute_resolved")}
    opened = [
        {
            **e.facts, "opened_by": e.facts["actor"], "opened_on": e.facts["through"],
            "state": resolved.get(e.facts["dispute_id"], {}).get("state", "open"),
            "resolved_by": resolved.get(e.facts["dispute_id"], {}).get("actor"),
            "resolved_on": resolved.get(e.facts["dispute_id"], {}).get("through"),
            "resolution": resolved.get(e.facts["dispute_id"], {}).get("reason"),
        }
        for e in run.books.of("disputed")
    ]  # fmt: skip
    accepted = [{**facts, "resolved_by": facts["actor"]} for facts in resolved.values() if facts["state"] == "accepted"]
    for name, rows in (("approval_entries", approvals), ("dispute_entries", opened), ("accepted_disputes", accepted)):
        shape = PEOPLE[name]
        run.con.execute(f"create or replace temp table {name}({', '.join(f'{column} {kind}' for column, kind in shape.items())})")
        if rows:
            places = ", ".join("?" for _ in shape)
            run.con.executemany(f"insert into {name} values ({places})", [[row.get(column) for column in shape] for row in rows])


def _require_rates(run: Run) -> None:
    missing = run.con.execute(
        """
        select distinct l.billing_currency || ' to ' || b.currency || ' for ' || l.original_period
        from ledger l
        cross join policy_company b
        left join exchange_rates f on f.period = l.original_period and f.currency = l.billing_currency
        where l.version = 0 and l.billing_currency <> b.currency and f.rate is null and l.chargeback_cost <> 0
        order by all
        """
    ).fetchall()
    if missing:
        pairs = ", ".join(pair for (pair,) in missing)
        raise Refused(f"no exchange rate from {pairs}", "data/landing/fx", "land a CSV with period,currency,rate,rate_source")


_MONEY = "DECIMAL(38,12)"
_COSTS = {name: _MONEY for name in ("list_cost", "contracted_cost", "effective_cost", "billed_cost")}

# The shape of a frozen version. Columns may be added, never renamed: old books must stay readable.
BOOKED: dict[str, dict[str, str]] = {
    "charges": {
        **dict.fromkeys(
            (
                "charge_id", "provider", "billing_account_id", "sub_account_id", "legal_entity", "invoice_id", "charge_category",
                "charge_class", "service", "sku_meter", "model", "region", "service_tier", "activity", "vector_index_id",
                "serving_pool", "cluster", "origin",
            ),
            "VARCHAR",
        ),
        "usage_date": "DATE", "charge_period_start": "TIMESTAMP", "charge_period_end": "TIMESTAMP",
        "billing_period": "VARCHAR", "period": "VARCHAR", "consumed_quantity": _MONEY, "consumed_unit": "VARCHAR",
        **_COSTS, "billing_currency": "VARCHAR", "estimate_status": "VARCHAR", "corrects_charge_id": "VARCHAR",
        "original_period": "VARCHAR", "contract_id": "VARCHAR",
    },
    "ledger": {
        "ledger_id": "VARCHAR", "period": "VARCHAR", "version": "INTEGER", "usage_date": "DATE",
        **dict.fromkeys(
            (
                "charge_id", "portion", "part", "team_id", "cost_center", "legal_entity", "project_id", "application",
                "environment", "service", "model", "activity", "category", "cost_pool", "rule_id", "method",
            ),
            "VARCHAR",
        ),
        "stage": "INTEGER", "driver": "VARCHAR", "driver_quantity": _MONEY, "driver_total": _MONEY, "driver_unit": "VARCHAR",
        "fallback_level": "INTEGER", "split_by": "VARCHAR", "allocated_ratio": _MONEY, "consumed_quantity": _MONEY, "consumed_unit": "VARCHAR",
        **_COSTS, "chargeback_cost": _MONEY, "metered_cost": _MONEY, "billing_currency": "VARCHAR",
        "estimate_status": "VARCHAR", "original_period": "VARCHAR", "reason": "VARCHAR", "line_id": "VARCHAR",
    },
    "statement_lines": {
        "period": "VARCHAR", "version": "INTEGER", "team_id": "VARCHAR", "cost_center": "VARCHAR", "legal_entity": "VARCHAR",
        "line_no": "INTEGER", "line_id": "VARCHAR", "category": "VARCHAR", "service": "VARCHAR", "model": "VARCHAR",
        "activity": "VARCHAR", "original_period": "VARCHAR", "quantity": _MONEY, "unit": "VARCHAR", "unit_rate": _MONEY, "list_cost": _MONEY,
        "amount": "DECIMAL(18,2)", "prior_amount": "DECIMAL(18,2)", "currency": "VARCHAR", "fx_rate": _MONEY,
        "gl_account": "VARCHAR", "mode": "VARCHAR",
    },
    "journal_lines": {
        "period": "VARCHAR", "version": "INTEGER", "je_id": "VARCHAR", "line_no": "INTEGER", "posting_date": "DATE",
        **dict.fromkeys(
            ("legal_entity", "partner_entity", "kind", "role", "currency", "gl_account", "cost_center", "team_id", "activity"), "VARCHAR"
        ),
        "debit": "DECIMAL(18,2)", "credit": "DECIMAL(18,2)",
        **dict.fromkeys(("line_memo", "header_memo", "reference"), "VARCHAR"), "reversal_date": "DATE",
    },
}  # fmt: skip

_DISPUTED = {name: "VARCHAR" for name in ("dispute_id", "period", "team_id", "cost_center", "legal_entity", "currency", "reason_code")}

# What people decided, in the words of the entries of the books.
PEOPLE: dict[str, dict[str, str]] = {
    "approval_entries": {
        "number": "INTEGER", "period": "VARCHAR", "version": "INTEGER", "step": "VARCHAR", "actor": "VARCHAR", "through": "DATE", "figures": "VARCHAR",
    },
    "dispute_entries": {
        **_DISPUTED, "version": "INTEGER", "statement_id": "VARCHAR", "line_ids": "VARCHAR[]", "line_nos": "INTEGER[]", "amount": "DECIMAL(18,2)",
        "reason": "VARCHAR", "opened_by": "VARCHAR", "opened_on": "DATE", "holds_until": "DATE", "state": "VARCHAR", "resolved_by": "VARCHAR",
        "resolved_on": "DATE", "resolution": "VARCHAR",
    },
    "accepted_disputes": {
        **_DISPUTED, "charge_id": "VARCHAR", "usage_date": "DATE", "amount": _MONEY, **_COSTS, "to_team_id": "VARCHAR",
        "to_cost_center": "VARCHAR", "to_legal_entity": "VARCHAR", "resolved_by": "VARCHAR",
    },
}  # fmt: skip
