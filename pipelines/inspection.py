"""Looking at a home without changing it: status, check, verify, explain."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb

from pipelines.allocation.words import driver
from pipelines.books import Books, file_sha256
from pipelines.checks import CheckResult, run_checks
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.policy.calendar import month_days
from pipelines.policy.files import SOLD
from pipelines.publish import current_manifest, require_manifest
from pipelines.reports import MANIFEST, in_order, read_manifest
from pipelines.run import open_run

SHOWN_POTS = 8
PICO = Decimal("0.000000000001")
SHOWN_ROWS = 20  # charges and rows of bills behind a line; how many there are is said beside them
OWN_USAGE = """
    with days as (
        select distinct c.usage_date, c.provider, c.billing_account_id, c.model, c.serving_pool, c.cluster
        from ledger l join charges c on c.charge_id = l.charge_id
        where l.period = $period and l.line_id = $line_id
    )
    select distinct e.source_file, e.source_row, e.usage_date
    from days d
    join usage_events e on e.usage_date = d.usage_date and e.model = d.model and (
        e.serving_pool = d.serving_pool or (e.provider = d.provider and e.billing_account_id = d.billing_account_id))
    where e.team_id = $team
    union
    select distinct g.source_file, g.source_row, g.usage_date
    from days d
    join gpu_usage g on g.usage_date = d.usage_date and g.cluster = d.cluster and g.gpu_model = coalesce(d.model, g.gpu_model)
    where g.team_id = $team
"""  # calls of the models, and jobs and pods on the GPUs, that a line's charges are for
COVERED = {  # columns of billing_coverage, in the words of the Reconciliation sheet
    "billed_cost": "billed", "metered_cost": "seen", "excess_cost": "beyond bound", "unmetered_cost": "not seen", "non_usage_cost": "no calls",
    "accrued_cost": "accrued", "metered_percent": "seen %",
}  # fmt: skip


def _current(home: Home) -> duckdb.DuckDBPyConnection:
    if not home.current.exists():
        raise Refused("nothing is published yet", str(home.root), "run: apportion nightly")
    return duckdb.connect(str(home.current), read_only=True)


def _rows(con: duckdb.DuckDBPyConnection, sql: str, params: Any = None) -> list[dict[str, Any]]:
    cursor = con.execute(sql, params or [])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


# status ---------------------------------------------------------------------------------------------------------


def status(home: Home) -> dict[str, Any]:
    """Periods, freshness per source, how much of each bill was metered, open alerts, exceptions, and dollars by kind of exception."""
    manifest = current_manifest(home) or {}
    con = _current(home)
    try:
        return {
            "through": manifest.get("through"),
            "periods": _rows(
                con,
                """
                select p.period, columns('^(fiscal_period|starts_on|ends_on)$'), p.state, p.version, p.closed_on,
                    coalesce(sum(s.total_amount), 0)::varchar as total, any_value(s.currency) as currency
                from periods p left join statements s on s.period = p.period and s.version = p.version
                group by all order by 1
                """,
            ),
            "approvals": _rows(
                con,
                """
                select a.period, a.version, a.step, a.actor, a.through, a.counts
                from approvals a join periods p on p.period = a.period and p.state <> 'closed' and a.version = p.version + 1
                where a.number is not null order by a.number
                """,
            ),
            "disputes": _rows(
                con,
                """
                select dispute_id, period, team_id, amount::varchar as amount, currency, reason_code, opened_by, opened_on, holds_until
                from disputes where state = 'open' order by opened_on, dispute_id
                """,
            ),
            "sources": _rows(
                con,
                """
                select kind, source, count(*) filter (state = 'landed') as files, max(last_day) as last_day,
                    sum(good)::bigint as rows, sum(rejected)::bigint as rejected, count(*) filter (state in ('refused', 'waiting', 'held')) as refused
                from source_files group by all order by 1, 2
                """,
            ),
            "held": _rows(con, "select kind, source, path, reason from source_files where state = 'held' order by path"),
            "coverage": _rows(
                con,
                """
                select period, provider, billing_account_id, billing_currency, metered_percent::varchar as metered_percent,
                    columns('^(billed|metered|excess|unmetered|non_usage|accrued)_cost$')::varchar
                from billing_coverage order by all
                """,
            ),
            "alerts": _rows(
                con,
                """
                select alert_id, kind, severity, team_id, raised_on, evidence, also, cost_impact::varchar as cost_impact, currency, owner, state, note, noted_by
                from alerts where state <> 'closed' order by raised_on, alert_id
                """,
            ),
            "unsent": _rows(con, "select channel, count(*) as alerts from alert_deliveries where sent_on is null group by all order by all"),
            "exceptions": _rows(con, "select period, kind, what, amount::varchar as amount, events::bigint as events, detail from exceptions order by all"),
            "dollars": {
                kind: _rows(con, "select period, coalesce(sum(amount), 0)::varchar as amount from exceptions where kind = ? group by all order by 1", [kind])
                for kind in ("unallocated", "unpriced", "unmetered", "out_of_scope")
            },
        }
    finally:
        con.close()


def status_text(found: dict[str, Any]) -> str:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=110)
    with console.capture() as capture:
        console.print(f"Published as of {found['through']}\n")
        console.print(_table(Table(title="Periods", title_justify="left"), _periods(found["periods"]), {"total": "right"}))
        if found["approvals"]:
            console.print(_table(Table(title="Reviews and approvals of months that are not closed", title_justify="left"), found["approvals"], {}))
        if found["disputes"]:
            console.print(_table(Table(title="Open disputes", title_justify="left"), found["disputes"], {"amount": "right"}))
        console.print(_table(Table(title="Sources", title_justify="left"), found["sources"], dict.fromkeys(("files", "rows", "rejected", "refused"), "right")))
        for row in found["held"]:
            console.print(f"held {row['path']}: {row['reason']}\n", markup=False, highlight=False)
        coverage = [
            {"period": row["period"], "account": row["billing_account_id"], **{word: _money(row[name]) for name, word in COVERED.items()}}
            for row in found["coverage"]
        ]
        title = "Billed, and what the gateways saw of it"
        console.print(_table(Table(title=title, title_justify="left"), coverage, dict.fromkeys(COVERED.values(), "right")))
        alerts = [{"raised": row["raised_on"], "alert": row["alert_id"], "what": _alert(row)} for row in found["alerts"]]
        console.print(_table(Table(title="Alerts", title_justify="left", show_lines=True), alerts, {}))
        for row in found["unsent"]:
            console.print(f"channel {row['channel']} has {row['alerts']} alerts to take\n", markup=False, highlight=False)
        exceptions = [
            {"period": row["period"], "kind": row["kind"], "what": ": ".join(filter(None, (row["what"], row["detail"]))), "amount": _money(row["amount"]), "events": row["events"]}
            for row in found["exceptions"]
        ]
        console.print(_table(Table(title="Exceptions", title_justify="left"), exceptions, {"amount": "right", "events": "right"}))
    return capture.get()


def _table(table: Any, rows: list[dict[str, Any]], justify: dict[str, str]) -> Any:
    names = list(rows[0]) if rows else ["nothing"]
    table.min_width = len(str(table.title))  # a title over "nothing" stays on one line
    for name in names:
        table.add_column(name.replace("_", " "), justify=justify.get(name, "left"))
    for row in rows:
        table.add_row(*("–" if row[name] is None else _money(row[name]) if name == "total" else str(row[name]) for name in names))
    return table


def _periods(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without fiscal names where there are none, and without the days of calendar months."""
    hidden = set() if any(row.get("fiscal_period") for row in rows) else {"fiscal_period"}
    if all(month_days(row["period"]) == (row["starts_on"], row["ends_on"]) for row in rows):
        hidden |= {"starts_on", "ends_on"}
    return [{name: value for name, value in row.items() if name not in hidden} for row in rows]


def _alert(row: dict[str, Any]) -> str:
    """An alert in a sentence, whose it is, and what was said about it."""
    said = ""
    if row["state"] != "open":
        said = f" ({row['state']} by {row['noted_by']}{': ' + row['note'] if row['note'] else ''})"
    return f"{row['severity']} {row['kind'].replace('_', ' ')} of {row['team_id']}: {row['evidence']}{said}"


def _money(text: str | None) -> str:
    return "–" if text is None else f"{Decimal(text):z,.2f}"


# check ----------------------------------------------------------------------------------------------------------


def check(home: Home) -> list[CheckResult]:
    """Every invariant over the warehouse, the books' chain, and that the published ledger is the warehouse's."""
    manifest = require_manifest(home)
    with open_run(home, date.fromisoformat(manifest["through"]), lambda text: None) as run:
        if not run.con.execute("select count(*) from duckdb_tables() where table_name = 'ledger'").fetchall()[0][0]:
            raise Refused("the warehouse is empty", str(home.warehouse), "run: apportion nightly")
        results = run_checks(run)
        totals = run.con.execute(
            "select period, sum(effective_cost)::varchar, sum(chargeback_cost)::varchar from ledger group by all order by 1"
        ).fetchall()
        problems = run.books.problems()
    published = [(row["period"], row["effective_cost"], row["chargeback_cost"]) for row in manifest["totals"]]
    differing = [here for here, there in zip(totals, published, strict=False) if here != there] or ([] if len(totals) == len(published) else totals)
    results.append(_result("published_equals_warehouse", "The published ledger has the warehouse's totals.", [str(d) for d in differing]))
    results.append(_result("books_are_whole", "No entry of the books was changed, removed or reordered.", problems))
    return results


def _result(name: str, description: str, problems: list[str]) -> CheckResult:
    return CheckResult(name, "fail", description, len(problems), problems[0] if problems else "")


# verify ---------------------------------------------------------------------------------------------------------


def verify(home: Home) -> tuple[int, list[str]]:
    """How many files were compared with their recorded checksum, and one line for each that differs."""
    books = Books(home)
    manifests = sorted(home.published.glob("apportion-*.manifest.json"))
    if not manifests:
        raise Refused("nothing is published yet", str(home.root), "run: apportion nightly")
    recorded: set[tuple[Path, str]] = set()  # versions share files of the lake, and issued statements stand in two manifests
    problems: set[str] = set()
    current = home.published / Path(home.current.resolve().name).with_suffix(".manifest.json")
    published = file_sha256(current) if current.is_file() else None
    pages: dict[Path, set[str]] = defaultdict(set)

    def read(path: Path, *keys: str) -> dict[str, Any] | None:
        try:
            return read_manifest(path, *keys)
        except Refused:
            problems.add(f"{path.relative_to(home.root)}: has been altered; restore it from a backup")
            return None

    for path in manifests:
        manifest = read(path, "database", "lake", "reports")
        if manifest is None:
            continue
        problems |= _books_went_on(books, manifest.get("books"))
        recorded.add((home.published / manifest["database"]["path"], manifest["database"]["sha256"]))
        recorded |= {(home.lake / entry["path"], entry["sha256"]) for entry in manifest["lake"]}
        ahead = published is not None and manifest.get("previous") == published  # a night that was killed may have written some of its pages
        if path == current or ahead:
            for entry in manifest.get("pages", ()):
                page = home.reports / entry["path"]
                if not ahead or page.is_file():
                    pages[page].add(entry["sha256"])
        if path == current:
            recorded |= {(home.reports / entry["path"], entry["sha256"]) for entry in manifest["reports"] if "/draft/" not in entry["path"]}
    for path, known in pages.items():
        found = file_sha256(path) if path.is_file() else None
        recorded.add((path, found if found in known else min(known)))
    for path in home.reports.glob("[0-9]*/*/manifest.json"):
        issued = read(path, "files")
        recorded |= {(home.reports / entry["href"], entry["sha256"]) for entry in (issued["files"] if issued else ())}
    problems |= {*books.problems(), *(problem for file, sha256 in recorded for problem in _differs(home, file, sha256)), *_issued(home, books, recorded)}
    return len(recorded) + sum(len(entry.files) + 1 for entry in books.entries), sorted(problems)


def _issued(home: Home, books: Books, recorded: set[tuple[Path, str]]) -> list[str]:
    """What is wrong with the issued versions as a whole: files and versions that were added, and breaks of the chain of manifests."""
    found: list[str] = []
    listed = {file for file, _ in recorded}
    issued = [entry for entry in in_order(books.of("closed")) if entry.facts.get("totals") != []]  # a month without any cost has no statements
    versions = {home.reports / entry.facts["period"] / f"v{entry.facts['version']}" for entry in issued}
    for folder in sorted(home.reports.glob("[0-9]*/v*")):
        if folder not in versions:
            found.append(f"{folder.relative_to(home.root)}: was never issued; remove it")
            continue
        added = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST and path not in listed)
        found += [f"{path.relative_to(home.root)}: does not belong here; remove it" for path in added]
    previous: Path | None = None
    for entry in issued:
        path = home.reports / entry.facts["period"] / f"v{entry.facts['version']}" / MANIFEST
        if not path.is_file():
            found.append(f"{path.relative_to(home.root)}: is missing; restore it from a backup")
            break
        if _chained(path) != (file_sha256(previous) if previous else None):
            found.append(f"{path.relative_to(home.root)}: the chain of manifests is broken before this one; restore both from a backup")
        previous = path
    return found


def _chained(path: Path) -> str | None:
    """The hash of the manifest before this one, as it says; what cannot be read says nothing."""
    with suppress(Refused):
        return read_manifest(path, "previous")["previous"]
    return "unreadable"


def _books_went_on(books: Books, seen: dict[str, Any] | None) -> set[str]:
    """The last entry of the books is in no chain yet: what was published names it. Later entries may have followed."""
    if not seen or not seen["entries"]:
        return set()
    number = seen["entries"]
    if len(books.entries) < number:
        return {f"data/books: entry {number} is missing; restore data/books/ from a backup"}
    entry = books.entries[number - 1]
    return set() if entry.sha256 == seen["sha256"] else {f"{entry.folder.name}/entry.json: has been altered"}


def _differs(home: Home, file: Path, sha256: str) -> list[str]:
    if not file.is_file():
        return [f"{file.relative_to(home.root)}: is missing; restore it from a backup"]
    if file_sha256(file) != sha256:
        return [f"{file.relative_to(home.root)}: has been altered; restore it from a backup"]
    return []


# explain --------------------------------------------------------------------------------------------------------


def explain(home: Home, team: str, period: str, line: int | None) -> dict[str, Any]:
    """A team's lines of a period; with `line`, the pots behind it, its largest charges and the rows of the bills.

    A pot is what one rule split by the same units: pool x our units / all units = charged, but for the units of
    0.000000000001 by which each of its charges was made whole (`rounding`). What a correction charged is its cost as now
    known less what was booked before: where that is no such product, there is no `rounding`. With a rate card `charged` is the rate's: `sold` has
    quantity x rate for each line of the card. `charges`, `source_rows` and `usage_rows` are the first of as many as `..._in_all`.
    """
    con = _current(home)
    try:
        lines = _rows(
            con,
            "select * from statement_lines where team_id = ? and period = ?"
            " qualify version = if(min(version) over () = 0, 0, max(version) over ()) order by line_no",
            [team, period],
        )
        if not lines:
            raise Refused(f"no statement of {team} for {period}", "explain", "see apportion status for periods and reports/index.html for teams")
        if line is None:
            return {"team": team, "period": period, "lines": lines}
        chosen = next((row for row in lines if row["line_no"] == line), None)
        if chosen is None:
            raise Refused(f"line {line} is not on the statement", f"{team} {period}", f"choose 1 to {len(lines)}")
        pots = _pots(con, chosen)
        charges, all_charges = _first(
            con,
            """
            select c.charge_id, c.usage_date, c.provider, c.service, c.sku_meter, c.model, c.effective_cost as charge,
                sum(l.chargeback_cost) as ours, c.estimate_status, c.corrects_charge_id
            from ledger l join charges c on c.charge_id = l.charge_id
            where l.period = ? and l.line_id = ?
            group by all
            """,
            "abs(ours) desc, charge_id",
            [period, chosen["line_id"]],
        )
        rows, all_rows = _first(
            con,
            """
            select distinct b.source_file, b.source_row, b.charge_description, b.billed_cost
            from ledger l join charges c on c.charge_id = l.charge_id
            join bill_lines b on b.charge_id = coalesce(c.corrects_charge_id, c.charge_id)
            where l.period = ? and l.line_id = ?
            """,
            "source_file, source_row, charge_description, billed_cost",
            [period, chosen["line_id"]],
        )
        usage, all_usage = _first(con, OWN_USAGE, "source_file, source_row, usage_date", {"period": period, "line_id": chosen["line_id"], "team": team})
        exact = sum((pot["charged"] for pot in pots), Decimal(0))
        sold = _sold(con, chosen)
        return {
            "team": team, "period": period, "line": chosen, "pots": pots, "sold": sold, "exact": exact, "rounding": chosen["amount"] - exact,
            "charges": charges, "charges_in_all": all_charges, "source_rows": rows, "source_rows_in_all": all_rows,
            "usage_rows": usage, "usage_rows_in_all": all_usage,
        }  # fmt: skip
    finally:
        con.close()


def _first(con: duckdb.DuckDBPyConnection, sql: str, order: str, params: Any) -> tuple[list[dict[str, Any]], int]:
    """The first rows of a query in that order, and how many there are."""
    found = _rows(con, f"select *, count(*) over () as in_all from ({sql}) order by {order} limit {SHOWN_ROWS}", params)
    count = found[0]["in_all"] if found else 0
    return [{name: value for name, value in row.items() if name != "in_all"} for row in found], count


def _pots(con: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> list[dict[str, Any]]:
    """The pots behind a statement line, largest first: pool, driver, our units, all units, share, what it gave."""
    pots = _rows(
        con,
        """
        select
            s.rule_id, r.sentence, s.cost_pool, s.pot, s.method, s.part, s.driver, s.our_units, s.all_units, s.fallback_level, s.reason,
            s.charges, s.pool_cost as pool, s.effective_cost, s.chargeback_cost as charged
        from shared_costs s left join allocation_rules r using (rule_id)
        where s.period = $period and s.version = $version and s.line_id = $line_id
        order by abs(s.chargeback_cost) desc, s.rule_id, s.pot, s.all_units, s.our_units
        """,
        {"period": line["period"], "version": line["version"], "line_id": line["line_id"]},
    )
    for pot in pots:
        shared = pot["driver"] and pot["all_units"] and pot["method"] != "rate"
        pot["share"] = Fraction(pot["our_units"]) / Fraction(pot["all_units"]) if shared else None
        if shared:
            exact = Fraction(pot["pool"]) * pot["share"]
            pot["rounding"] = _decimal(Fraction(pot["effective_cost"]) - exact)
            if line["category"] == "adjustment" and abs(pot["rounding"]) > pot["charges"] * PICO:
                pot["rounding"] = None
            pot["share"] = _decimal(pot["share"])
    return pots


def _sold(con: duckdb.DuckDBPyConnection, line: dict[str, Any]) -> list[dict[str, Any]]:
    """What of a statement line was sold by the rate card: quantity x rate = charged, but for the `rounding` of each day's charge.

    The seller's own side has none: what it is credited was sold at the rates of many teams.
    """
    if line["category"] == "recovery":
        return []
    sold = _rows(
        con,
        """
        with rated as (
            select l.rule_id, l.usage_date, l.driver_quantity, l.consumed_unit, l.chargeback_cost, r.meter, r.unit, r.rate, r.currency
            from ledger l
            join rate_card r on r.line_id = l.rule_id and coalesce(r.only_team, l.team_id) = l.team_id
                and l.usage_date >= coalesce(r.valid_from, l.usage_date) and (r.valid_to is null or l.usage_date < r.valid_to)
            where l.period = $period and l.line_id = $line_id and l.method = 'rate'
            qualify row_number() over (partition by l.ledger_id order by r.only_team nulls last) = 1
        )
        select
            rule_id, meter, unit, rate, currency, min(usage_date) as first_day, max(usage_date) as last_day, count(*) as charges,
            sum(driver_quantity) as quantity, sum(chargeback_cost) as charged
        from rated
        group by all
        order by charged desc, rule_id, rate
        """,
        {"period": line["period"], "line_id": line["line_id"]},
    )
    for one in sold:
        one["units"] = _decimal(Fraction(one["quantity"]) / SOLD[one["meter"]][one["unit"]])
        one["rounding"] = _decimal(Fraction(one["charged"]) - Fraction(one["quantity"]) * Fraction(one["rate"]) / SOLD[one["meter"]][one["unit"]])
    return sold


def _decimal(number: Fraction) -> Decimal:
    """To twelve decimals, for reading."""
    return Decimal(round(number * 10**12)).scaleb(-12)


def _plain(number: Decimal) -> str:
    return f"{number:,.12f}".rstrip("0").rstrip(".")


def explain_text(found: dict[str, Any]) -> str:
    if "line" not in found:
        head = f"{found['team']} {found['period']}: {len(found['lines'])} lines; add --line N for what is behind one"
        body = [
            f"{row['line_no']:>3}  {row['amount']:>14,.2f}  {row['category']:<10} {row['activity']:<18} {row['service'] or ''} {row['model'] or ''}"
            for row in found["lines"]
        ]
        return "\n".join([head, *body])
    line = found["line"]
    out = [
        f"{found['team']} {found['period']} line {line['line_no']}: {line['amount']:,.2f} {line['currency']}  {line['activity']}  {line['service'] or ''} {line['model'] or ''}",
        f"exact {found['exact']:,.12f}, rounding to cents {found['rounding']:+,.12f}",
    ]
    for one in found["sold"]:
        out.append(f"\n{one['rule_id']} from {one['first_day']} to {one['last_day']}: {_plain(one['units'])} x {_plain(one['rate'])} {one['currency']} per {one['unit']}")
        out.append(f"  = {one['charged']:,.12f}, rounding {one['rounding']:+.12f}")
    pots = [pot for pot in found["pots"] if pot["method"] != "rate" or not found["sold"]]
    if any(pot["share"] is not None and pot["rounding"] is None for pot in found["pots"]):
        out.append(f"a correction of {line['original_period']}: what its cost is now known to be, less what was booked for it before")
    for pot in pots[:SHOWN_POTS]:
        pool = f"{pot['cost_pool']}, {pot['pot']}" if pot["pot"] else pot["cost_pool"]
        out.append(f"\n{pot['rule_id']} (pool {pool}, {pot['charges']} charges): {pot['charged']:,.12f}")
        if pot["sentence"]:
            out.append(f"  {pot['sentence']}")
        if pot["share"] is not None:
            out.append(f"  {driver(pot['driver'])}: our {_plain(pot['our_units'])} of {_plain(pot['all_units'])} units = {pot['share'] * 100:.6f}%")
            if pot["rounding"] is not None:
                out.append(f"  {pot['pool']:,.12f} x {pot['share'] * 100:.6f}%, rounding {pot['rounding']:+.12f}")
        if pot["fallback_level"]:
            out.append(f"  fallback {pot['fallback_level']} of the rule applied")
        if pot["reason"]:
            out.append(f"  because: {pot['reason']}")
    if len(pots) > SHOWN_POTS:
        rest = sum((pot["charged"] for pot in pots[SHOWN_POTS:]), Decimal(0))
        out.append(f"\n{len(pots) - SHOWN_POTS} smaller pots: {rest:,.12f}; --json has each")
    out.append(f"\nlargest charges{_of(found['charges'], found['charges_in_all'])}")
    out += [f"  {c['usage_date']}  {c['ours']:>16,.6f} of {c['charge']:>16,.6f}  {c['provider']} {c['service']} {c['sku_meter'] or ''} {c['model'] or ''}  {c['charge_id'][:12]}" for c in found["charges"]]
    out.append(f"source rows{_of(found['source_rows'], found['source_rows_in_all'])}")
    out += [f"  {r['source_file']}:{r['source_row']}  {r['billed_cost']:,.6f}" for r in found["source_rows"]] or ["  none: no bill line is behind this (declared hardware, accrual or rate card)"]
    if found["usage_rows"]:
        out.append(f"own calls, jobs and pods{_of(found['usage_rows'], found['usage_rows_in_all'])}")
        out += [f"  {r['source_file']}:{r['source_row']}  {r['usage_date']}" for r in found["usage_rows"]]
    return "\n".join(out)


def _of(shown: list[Any], count: int) -> str:
    return f" ({len(shown)} of {count:,})" if count > len(shown) else ""


# after the demo -------------------------------------------------------------------------------------------------


def made_text(home: Home) -> str:
    """What was made and where, for somebody who sees it for the first time."""
    con = _current(home)
    try:
        periods = _rows(con, "select p.period, p.state, p.version, sum(s.total_amount) as total, any_value(s.currency) as currency, count(distinct s.team_id) as teams from periods p join statements s on s.period = p.period and s.version = p.version group by all order by 1")
        counts = _rows(con, "select (select sum(events) from usage_daily) as events, (select count(*) from charges) as charges, (select count(*) from ledger) as rows")[0]
    finally:
        con.close()
    lines = [f"{counts['events']:,} events, {counts['charges']:,} charges, {counts['rows']:,} ledger rows", ""]
    for row in periods:
        where = f"v{row['version']}" if row["version"] else "draft"
        lines.append(f"{row['period']}  {row['state']:<12} {row['total']:>14,.2f} {row['currency']}  {row['teams']} statements in {home.reports}/{row['period']}/{where}/")
    lines += ["", f"open    {home.reports}/index.html", f"query   {home.current}", "then    apportion status, apportion check, apportion explain search 2026-10"]
    return "\n".join(lines)
