"""CLOSE: what is booked in which period, statements in cents, soft-close by the calendar, and the close itself."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines import checks, models, policy
from pipelines.books import Entry
from pipelines.errors import Refused
from pipelines.run import Run, Scope, inputs_fingerprint
from pipelines.warehouse import transaction, write_parquet

_FROZEN = ("charges", "ledger", "statement_lines", "statements", "journal_lines")


def book(run: Run, scopes: list[Scope]) -> None:
    """Fills periods, charges, ledger, statement_lines and statements: closed books, corrections and open drafts."""
    run.say("book charges, ledger and statements")
    con = run.con
    policy.register(con, run.policy)
    _soft_close(run)
    periods_table(run)
    open_periods = [p.label for p in run.periods if run.books.state(p.label) != "closed"]
    if not open_periods:
        raise Refused("every period is closed", "data/books", "run the night for a later day")
    closed = run.books.closed()
    touched = [
        scope.period.label for scope in scopes if scope.frozen and scope.inputs != closed[scope.period.label][-1].facts["inputs"]
    ]
    _load_books(run)
    params = {"open": open_periods, "open_period": open_periods[0], "touched": touched, "through": run.through}
    with transaction(con):
        for model in models.stage("close"):
            if model.name == "statement_lines":
                _require_rates(run)
            models.replace_all(con, model, params)


def close_period(run: Run, label: str, actor: str) -> Entry:
    """Freeze version 1 of a period in the books; refused, with every reason, while something stands in the way."""
    period = next((p for p in run.periods if p.label == label), None)
    if period is None:
        raise Refused(f"{label} is not a period as of {run.through}", "close", "run the night past its last day first")
    if run.books.state(label) == "closed":
        raise Refused(f"{label} is already closed", "close", "what arrives now becomes a correction in the earliest open month")
    earlier = [p.label for p in run.periods if p.start < period.start and run.books.state(p.label) != "closed"]
    if earlier:
        raise Refused(f"{label} cannot close before {earlier[0]}", "close", f"close {earlier[0]} first")
    if run.through < period.end:
        raise Refused(f"{label} is not over as of {run.through}", "close", "close it after its last day")
    blocking = [f"{c.name}: {c.summary}" for c in checks.run_checks(run, close=label) if c.blocks_close and c.bad_rows]
    if blocking:
        raise Refused(f"{label} cannot close: " + "; ".join(blocking), "close", "see apportion check")
    totals = run.con.execute(
        "select legal_entity, currency, sum(amount)::varchar from statement_lines where period = ? and version = 0 group by all order by 1, 2",
        [label],
    ).fetchall()
    facts = {
        "period": label,
        "version": 1,
        "through": run.through,
        "actor": actor,
        "inputs": inputs_fingerprint(run.con, period, run.policy.reaches_back(period)),
        "reaches_back": run.policy.reaches_back(period),
        "terms": run.policy.terms_beyond(period),
        "policy_fingerprint": run.policy.fingerprint,
        "totals": [{"legal_entity": e, "currency": c, "amount": a} for e, c, a in totals],
    }
    return run.books.append("closed", facts, lambda folder: _freeze(run, label, folder))


def _freeze(run: Run, label: str, folder: Path) -> None:
    for name in _FROZEN:
        has_version = name != "charges"
        chosen = "* replace (1::integer as version)" if has_version else "*"
        if name == "statements":
            chosen = "* replace (1::integer as version, 'FINAL' as state, replace(statement_id, '-draft', '-v1') as statement_id)"
        if name == "journal_lines":
            chosen = "* replace (1::integer as version, replace(je_id, '-D-', '-V1-') as je_id, replace(reference, '-draft', '-v1') as reference)"
        order = {"charges": "charge_id", "ledger": "ledger_id"}.get(name, "all")
        where = "period = $period" + (" and version = 0" if has_version else "")
        where += " and kind not in ('accrual', 'reversal')" if name == "journal_lines" else ""
        write_parquet(run.con, f"select {chosen} from {name} where {where} order by {order}", folder / f"{name}.parquet", {"period": label})
    shutil.copytree(run.home.policy, folder / "policy")
    shutil.copytree(run.home.list_prices, folder / "list_prices")


def _soft_close(run: Run) -> None:
    """On the calendar's working day the night soft-closes a month: drafts and accruals are issued, reviews begin."""
    for period in run.periods:
        if run.books.state(period.label) == "open" and run.through >= run.policy.soft_close_day(period):
            run.books.append("soft_closed", {"period": period.label, "through": run.through})


def periods_table(run: Run) -> None:
    """periods and period_events, as the books tell them."""
    con = run.con
    closed = run.books.closed()
    rows = []
    for period in run.periods:
        versions = closed.get(period.label, [])
        rows.append(
            (
                period.label,
                period.start,
                period.end,
                run.books.state(period.label),
                len(versions),
                versions[-1].facts["through"] if versions else None,
            )
        )
    con.execute(
        "create or replace table warehouse.main.periods(period varchar, starts_on date, ends_on date, state varchar,"
        " version integer, closed_on date)"
    )
    con.executemany("insert into periods values (?, ?, ?, ?, ?, ?)", rows)
    con.execute(
        "create or replace table warehouse.main.period_events(number integer, period varchar, event varchar, version integer,"
        " through date, actor varchar)"
    )
    events = [
        (e.number, e.facts["period"], e.kind, e.facts.get("version"), e.facts["through"], e.facts.get("actor", "the night"))
        for e in run.books.entries
        if e.kind in ("soft_closed", "closed")
    ]
    if events:
        con.executemany("insert into period_events values (?, ?, ?, ?, ?, ?)", events)


def _load_books(run: Run) -> None:
    """The rows of every closed version, as temp tables booked_*; with the right columns when nothing is closed yet."""
    entries = [entry for versions in run.books.closed().values() for entry in versions]
    for name in _FROZEN:
        files = [str(entry.path(f"{name}.parquet")) for entry in entries if f"{name}.parquet" in entry.files]
        if files:
            run.con.execute(f"create or replace temp table booked_{name} as select * from read_parquet(?, union_by_name = true)", [files])
        else:
            columns = ", ".join(f"{column} {kind}" for column, kind in BOOKED[name].items())
            run.con.execute(f"create or replace temp table booked_{name}({columns})")


def _require_rates(run: Run) -> None:
    missing = run.con.execute(
        """
        select distinct l.billing_currency || ' to ' || b.currency || ' for ' || l.period
        from ledger l
        cross join policy_company b
        left join fx_rates f on f.usage_period = l.period and f.currency = l.billing_currency
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
        "activity": "VARCHAR", "quantity": _MONEY, "unit": "VARCHAR", "unit_rate": _MONEY, "list_cost": _MONEY,
        "amount": "DECIMAL(18,2)", "prior_amount": "DECIMAL(18,2)", "currency": "VARCHAR", "fx_rate": _MONEY,
        "gl_account": "VARCHAR", "mode": "VARCHAR",
    },
    "statements": {"period": "VARCHAR", "version": "INTEGER", "team_id": "VARCHAR", "cost_center": "VARCHAR"},
    "journal_lines": {
        "period": "VARCHAR", "version": "INTEGER", "je_id": "VARCHAR", "line_no": "INTEGER", "posting_date": "DATE",
        **dict.fromkeys(
            ("legal_entity", "partner_entity", "kind", "role", "currency", "gl_account", "cost_center", "team_id", "activity"), "VARCHAR"
        ),
        "debit": "DECIMAL(18,2)", "credit": "DECIMAL(18,2)",
        **dict.fromkeys(("line_memo", "header_memo", "reference"), "VARCHAR"), "reversal_date": "DATE",
    },
}  # fmt: skip
