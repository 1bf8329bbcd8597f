"""One night, or one close: what every stage needs to know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import duckdb

from pipelines import models
from pipelines import policy as policies
from pipelines.books import Arrivals, Books, Entry
from pipelines.errors import Refused
from pipelines.home import Home, asset
from pipelines.landing import LandingReport
from pipelines.policy import Period, Policy
from pipelines.policy.calendar import month_days
from pipelines.warehouse import only_run, open_warehouse, transaction

Say = Callable[[str], None]


@dataclass
class Scope:
    """One period, and the policy that holds for it: today's, or the one frozen at its close (read when needed)."""

    period: Period
    policy_folder: Path
    list_prices: Path
    fingerprint: str
    inputs: str
    frozen: bool
    params: dict[str, Any]

    @cached_property
    def policy(self) -> Policy:
        return _frozen_policy(self.policy_folder)


@dataclass
class Run:
    """The home, its database and its books, as of one day. Stages take it, in order, and leave tables behind."""

    home: Home
    con: duckdb.DuckDBPyConnection
    policy: Policy
    books: Books
    through: date
    say: Say
    landed: LandingReport | None = None
    refused: list[Refused] = field(default_factory=list)
    known_inputs: dict[tuple[Period, date, date], str] = field(default_factory=dict)  # since landing

    @cached_property
    def arrivals(self) -> Arrivals:
        return Arrivals(self.books, self.con, self.through)

    @cached_property
    def periods(self) -> list[Period]:
        """Every period up to the as-of day; `Refused` where an edit of the calendar moved the days of a closed one."""
        found = self.policy.periods(self.through)
        days = {period.label: (period.start, period.end) for period in found}
        for label, versions in sorted(self.books.closed().items()):
            closed = closed_days(versions[-1])
            if days.get(label) != closed:
                what = f"{label} is closed with the days from {closed[0]} to {closed[1] - timedelta(days=1)}, and the calendar says otherwise"
                raise Refused(what, self.policy.calendar_at, "leave the days of closed periods as they are; `periods` can name each")
        return found

    @cached_property
    def code(self) -> str:
        return models.code_fingerprint()

    def scopes(self) -> list[Scope]:
        """Every period: open and reopened ones under today's policy, closed ones under the policy frozen at their close."""
        found: list[Scope] = []
        closed = self.books.closed()
        for period in self.periods:
            versions = closed.get(period.label, [])
            if not versions:
                found.append(self._open_scope(period, self.through))
            elif self.books.state(period.label) == "reopened":
                found.append(self._open_scope(period, undated_until(versions[-1])))
            else:
                self._require_terms(period, versions[-1])
                found.append(self._frozen_scope(period, versions[-1]))
        return found

    def _require_terms(self, period: Period, closed: Entry) -> None:
        """A term that a closed month booked a part of has to stay as it was, or its other parts would not add up with that one."""
        booked, declared = set(closed.facts.get("terms", [])), set(self.policy.terms_beyond(period))
        changed = sorted(booked ^ declared)
        if changed:
            what = f"{changed[0].split(' ')[0]} is not what {period.label} was closed with"
            raise Refused(what, "contracts.yaml", f"a term that began before {period.end} stays as it was; declare a new one from then on")

    def stale(self) -> list[Scope]:
        """The scopes whose last result came from other inputs, policy, prices, code or day."""
        done = dict(self.con.execute("select usage_period, fingerprint from period_runs").fetchall())
        return [scope for scope in self.scopes() if done.get(scope.period.label) != scope.fingerprint]

    def rates(self, label: str) -> dict[str, tuple[str, str | None]]:
        """Exchange rates of a period: currency -> units of the company's currency for one, and their source. Frozen ones stay."""
        frozen = {currency: (rate, source) for currency, (rate, source, _) in self.books.rates(label).items()}
        return {**self.landed_rates(label), **frozen}

    def landed_rates(self, label: str) -> dict[str, tuple[str, str | None]]:
        """The newest rates in landing for a period: currency -> rate, source."""
        files = all_files(self, "fx")
        if not files:
            return {}
        found = self.con.execute(
            """
            with arrivals as (select delivery_id, max(seq) as seq from source_files where kind = 'fx' and state = 'landed' group by all)
            select l.currency, l.rate::decimal(38, 12)::varchar, l.rate_source
            from read_parquet($files, union_by_name = true) l join arrivals a on a.delivery_id = l.delivery_id
            where l.period = $period
            qualify row_number() over (partition by l.currency order by a.seq desc, l.source_row desc) = 1
            order by 1
            """,
            {"files": files, "period": label},
        ).fetchall()
        return {currency: (rate, source) for currency, rate, source in found}

    def inputs(self, period: Period, bills_from: date, undated_until: date) -> str:
        """`inputs_fingerprint`, taken once after landing."""
        if self.landed is None:
            return inputs_fingerprint(self.con, period, bills_from, undated_until)
        asked = (period, bills_from, undated_until)
        if asked not in self.known_inputs:
            self.known_inputs[asked] = inputs_fingerprint(self.con, *asked)
        return self.known_inputs[asked]

    def closed_as_computed(self, label: str) -> None:
        """The period's tables stand after its close: the policy and the prices just frozen are those that made them."""
        scope = next(scope for scope in self.scopes() if scope.period.label == label)
        self.con.execute("insert or replace into period_runs values (?, ?)", [label, scope.fingerprint])

    def open_scope(self, period: Period) -> Scope:
        """The period under today's policy, whether it is closed or not."""
        return self._open_scope(period, self.through)

    def _open_scope(self, period: Period, undated_until: date) -> Scope:
        """Under today's policy and prices. A reopened period keeps the drivers without dates that it was closed with."""
        inputs = self.inputs(period, self.policy.reaches_back(period), undated_until)
        params = self._params(period, undated_until)
        prices = self.home.list_prices
        parts = [inputs, self.policy.fingerprint, folder_fingerprint(prices), self.code, params["as_of"]]
        if self.policy.contracts.minimums or self.policy.contracts.commitments:  # use in other currencies counts against them
            parts.append(self.rates(period.label))
        scope = Scope(period, self.home.policy, prices, digest(parts), inputs, False, params)
        scope.policy = self.policy
        return scope

    def _frozen_scope(self, period: Period, closed: Entry) -> Scope:
        """A closed period is computed again only when something arrived for it: never for a new day or new code."""
        until = undated_until(closed)
        inputs = self.inputs(period, date.fromisoformat(closed.facts.get("reaches_back", f"{period.start}")), until)
        params = self._params(period, until)
        fingerprint = digest([inputs, closed.sha256])
        return Scope(period, closed.path("policy"), closed.path("list_prices"), fingerprint, inputs, True, params)

    def _params(self, period: Period, undated_until: date) -> dict[str, Any]:
        return {
            "period": period.label,
            "period_start": period.start,
            "period_end": period.end,
            "as_of": self.through,
            "undated_until": undated_until,
        }


@lru_cache(maxsize=8)
def _frozen_policy(folder: Path) -> Policy:
    """The policy of a closed version, read once a run: a folder of the books never changes."""
    return policies.load(folder)


def closed_days(closed: Entry) -> tuple[date, date]:
    """The days that a period was closed with; those closed before there were other calendars are calendar months."""
    if "starts_on" in closed.facts:
        return date.fromisoformat(closed.facts["starts_on"]), date.fromisoformat(closed.facts["ends_on"])
    return month_days(closed.facts["period"])


def undated_until(closed: Entry) -> date:
    """The day of a period's first close: drivers without dates that came later say nothing about it."""
    return date.fromisoformat(closed.facts.get("undated_until", closed.facts["through"]))


@contextmanager
def open_run(home: Home, through: date, say: Say) -> Iterator[Run]:
    """Hold the home and open everything a stage needs; `Busy` if another run does, `Refused` if the policy is not valid or a later day is published."""
    home.require_policy()
    policy = policies.load(home.policy)
    with only_run(home), open_warehouse(home) as con:
        _not_before_last(home, through)
        con.execute(asset("sql", "macros.sql").read_text(encoding="utf-8"))
        prepare(con)
        run = Run(home, con, policy, Books(home), through, say)
        forget_other_periods(con, [period.label for period in run.periods])
        yield run


def _not_before_last(home: Home, through: date) -> None:
    from pipelines.publish import current_manifest

    manifest = current_manifest(home)
    if manifest and date.fromisoformat(manifest["through"]) > through:
        raise Refused(f"the home is already published as of {manifest['through']}", f"--through {through}", "choose that day or a later one")


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """The warehouse's own bookkeeping: what was computed, from what, by which version of the models.

    After an upgrade the tables are made anew from landing, policy and books.
    """
    con.execute(
        """
        create table if not exists period_runs(usage_period varchar primary key, fingerprint varchar);
        create table if not exists usage_days(usage_date date primary key, fingerprint varchar, lake_file varchar, rows bigint);
        create table if not exists logged_models(delivery_id varchar, provider varchar, model_as_logged varchar);
        create table if not exists made_by(sql varchar);
        """
    )
    made_by = models.sql_fingerprint()
    if con.execute("select sql from made_by").fetchall() != [(made_by,)]:
        with transaction(con):
            for stage in models.STAGES:
                for model in models.stage(stage):
                    con.execute(f"drop table if exists warehouse.main.{model.name}")
            con.execute("delete from period_runs")
            con.execute("delete from usage_days")
            con.execute("delete from made_by")
            con.execute("insert into made_by values (?)", [made_by])


def forget_other_periods(con: duckdb.DuckDBPyConnection, labels: list[str]) -> None:
    """Figures of periods that an edit of the calendar took away are gone: their days are in others now."""
    tables = con.execute(
        "select distinct table_name from duckdb_columns() where database_name = 'warehouse' and column_name = 'usage_period' order by 1"
    ).fetchall()
    with transaction(con):
        for (name,) in tables:
            con.execute(f"delete from warehouse.main.{name} where usage_period not in (select unnest($labels))", {"labels": labels})


def inputs_fingerprint(con: duckdb.DuckDBPyConnection, period: Period, bills_from: date, undated_until: date) -> str:
    """A digest of every delivery that says something about the period's days, or of bills from an earlier day on whose
    cost is spread into it, of drivers without dates that were there on `undated_until`, of invoice documents, which may make a
    bill final, and of which of their rows count: of events the losers, else the order of arrival."""
    days = {"first": period.start, "last": period.end, "bills_from": bills_from, "undated_until": undated_until}
    rows = con.execute(
        """
        select distinct if(f.kind in ('gateway', 'gpu'), f.lake_file, concat_ws('|', f.seq, f.lake_file)) from source_files f
        where f.state = 'landed' and (
            f.kind = 'invoices'
            or f.delivery_id in (select delivery_id from delivery_days where usage_date >= $first and usage_date < $last)
            or f.delivery_id in (
                select delivery_id from bill_coverage
                where (usage_date >= $bills_from and usage_date < $last)
                    or (usage_date is null and billing_period >= strftime($bills_from::date, '%Y-%m')
                        and billing_period <= strftime($last::date - 1, '%Y-%m')))
            or (f.kind = 'drivers' and f.night <= $undated_until
                and f.good > coalesce((select sum(d.rows) from delivery_days d where d.delivery_id = f.delivery_id), 0)))
        union all
        select concat_ws('|', delivery_id, source_file, source_row, event_id, outcome) from event_losers
        where usage_date >= $first and usage_date < $last
        order by 1
        """,
        days,
    ).fetchall()
    return digest(row[0] for row in rows)


def landed_files(con: duckdb.DuckDBPyConnection, home: Home, kind: str, first: date, last: date) -> list[str]:
    """Lake files of landed deliveries of one kind that have rows on days in [first, last)."""
    rows = con.execute(
        """
        select distinct lake_file from source_files f
        where kind = $kind and state = 'landed' and good > 0 and delivery_id in (
            select delivery_id from delivery_days where usage_date >= $first and usage_date < $last)
        order by 1
        """,
        {"kind": kind, "first": first, "last": last},
    ).fetchall()
    return [str(home.lake / row[0]) for row in rows]


def all_files(run: Run, kind: str) -> list[str]:
    """Lake files of every landed delivery of one kind that has rows."""
    rows = run.con.execute(
        "select distinct lake_file from source_files where kind = ? and state = 'landed' and good > 0 order by 1", [kind]
    ).fetchall()
    return [str(run.home.lake / row[0]) for row in rows]


def folder_fingerprint(folder: Path) -> str:
    return digest(f"{p.relative_to(folder)} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in sorted(folder.rglob("*")) if p.is_file())


def digest(parts: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
