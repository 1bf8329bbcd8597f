"""Runs the rules over a whole period inside DuckDB: portions -> pots -> weights -> exact parts, stage by stage.

A *pot* is what one step of one rule splits by the same weights: all charges that share the step's `by` values (and the day,
with `window: day`). Weights are found once per pot; then every charge in it is split on its own, by largest remainder over
whole pico-units, for every measure. Tables named alloc_* are this module's own:

    alloc_portions  the portions with a number (_pid) and their pool      alloc_pots     pot -> rule, step, total weight
    alloc_items     what the current stage splits: _pid, pool, measures   alloc_weights  pot -> targets and their weights
    alloc_split     _pid, pool -> pots, with the share of each part       alloc_final    parts that found their owner
    alloc_landed    what support teams hold and still pass on             alloc_steps    parts that reached a support team
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.allocation import kernel
from pipelines.allocation.rules import ALLOCATED, UNALLOCATED, AllocationPolicy, Part, Predicate, Rule, Step, groups
from pipelines.errors import Refused

CHUNK = 1_000_000  # rows that one splitting statement makes, so that memory stays bounded
SAFE = 1e37  # products below this fit HUGEINT (1.7e38) whatever the rounding of the estimate
SHOWN = Decimal(10) ** 26  # quantities from here on do not fit DECIMAL(38,12)


def run(
    con: duckdb.DuckDBPyConnection,
    policy: AllocationPolicy,
    *,
    portions: str,
    measures: Sequence[str],
    period: tuple[date, date],
    driver: Callable[[str], str | None],
    dims: Sequence[str] = (),
    known_targets: set[str] | None = None,
) -> None:
    """Temp views `allocations` (final owners) and `allocation_steps` (what reached support teams) of one period.

    `portions` is a table with charge_id, portion (its key), usage_date, `measures` in DECIMAL(38,12), and the columns that the
    rules name. `driver(name)` gives a table's name or a SELECT with target, weight and optionally usage_date, `by` columns and
    `dims`; None = unknown. Raises `Refused`, with the rule's file and line where one is to blame.
    """
    _Run(con, policy, measures, period, driver, dims, known_targets).all(portions)


@dataclass(frozen=True)
class _Driver:
    """A driver's rows in a temp table, and its column names in lower case."""

    table: str
    columns: frozenset[str]
    big: bool  # weights are BIGNUM


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _units(column: str) -> str:
    """A DECIMAL or integer column as the whole number of its last decimals, at any size."""
    return f"replace({column}::varchar, '.', '')::hugeint"


def _money(units: str) -> str:
    return f"({units}::decimal(38, 0) * 0.000000000001::decimal(12, 12))::decimal(38, 12)"


class _Run:
    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        policy: AllocationPolicy,
        measures: Sequence[str],
        period: tuple[date, date],
        driver: Callable[[str], str | None],
        dims: Sequence[str],
        known_targets: set[str] | None,
    ) -> None:
        self.con, self.policy, self.measures, self.period = con, policy, list(measures), period
        self.find_driver, self.known_targets = driver, known_targets
        self.dims = [_quoted(d) for d in dims]
        self.amounts = [f"m{i}" for i in range(len(self.measures))]
        self.rules = [rule for rule in policy.rules if rule.overlaps(*period)]
        self.drivers: dict[str, _Driver] = {}
        self.columns: frozenset[str] = frozenset()
        self.pots = 0

    def all(self, portions: str) -> None:
        self.prepare(portions)
        self.load_drivers()
        support = set(self.policy.support_teams)
        pools = [pool.name for pool in self.policy.pools if pool.name not in support]
        late = {rule.pool for rule in self.rules if rule.uses_allocated}
        stages: list[tuple[str, ...]] = [tuple(p for p in pools if p not in late), tuple(p for p in pools if p in late)]
        stages += self.support_order()
        for number, stage in enumerate(stage for stage in stages if stage):
            self.stage(number, stage)
        self.assert_conserved()
        self.results()

    # Before the first stage ---------------------------------------------------------------------------------------

    def prepare(self, portions: str) -> None:
        con = self.con
        self.columns = frozenset(row[0].lower() for row in con.execute(f"describe from {portions}").fetchall())
        for pool in self.policy.pools:
            self.require(pool.predicate.columns, f"pool {pool.name}", pool.line)
        for rule in self.rules:
            for step in rule.steps:
                names = {name.lower() for name in (*step.by, *([step.name] if step.kind == "owner" else []))}
                self.require(names, f"rule {rule.id}", step.line)
        units = ", ".join(f"{_units(f'{_quoted(m)}::decimal(38, 12)')} as m{i}" for i, m in enumerate(self.measures))
        cases = " ".join(f"when {pool.predicate.sql} then $pool_{i}" for i, pool in enumerate(self.policy.pools))
        names = {f"pool_{i}": pool.name for i, pool in enumerate(self.policy.pools)}
        try:
            con.execute(
                f"create or replace temp table alloc_portions as select row_number() over (order by charge_id, portion) as _pid,"
                f" case {cases} end as _pool, {units}, * from {portions}",
                names,
            )
        except (duckdb.ConversionException, duckdb.BinderException):
            self.blame_pool(portions)
            raise
        twice = con.execute(
            "select charge_id, portion from alloc_portions group by all having count(*) > 1 limit 1"
        ).fetchall()
        if twice:
            raise Refused(f"charge {twice[0][0]} appears twice", "charges", "give every charge its own id")
        con.execute("create or replace temp table alloc_rules(no int, pool varchar, start_on date, end_on date)")
        con.executemany(
            "insert into alloc_rules values (?, ?, ?, ?)",
            [(i, r.pool, r.start, r.end) for i, r in enumerate(self.rules)],
        )
        dims = "".join(f", {d} varchar" for d in self.dims)
        sums = "".join(f", {m} hugeint" for m in self.amounts)
        con.execute(
            "create or replace temp table alloc_pots(pot bigint, rule_id varchar, cost_pool varchar, method varchar, part varchar, stage int,"
            " driver varchar, fallback_level int, reason varchar, total hugeint, driver_total decimal(38, 12))"
        )
        con.execute(
            f"create or replace temp table alloc_weights(pot bigint, ord bigint, target varchar{dims}, quantity decimal(38, 12), w hugeint, big varchar)"
        )
        for table in ("alloc_final", "alloc_steps"):
            con.execute(
                f"create or replace temp table {table}(_pid bigint, pot bigint, note varchar, target varchar{dims}, quantity decimal(38, 12){sums})"
            )
        con.execute(f"create or replace temp table alloc_landed(_pid bigint, pool varchar{sums})")

    def require(self, names: set[str] | frozenset[str], who: str, line: int) -> None:
        missing = sorted(names - self.columns)
        if missing:
            raise Refused(
                f"{who} names the unknown column {missing[0]}", self.policy.where(line), "use a column of the charges"
            )

    def blame_pool(self, portions: str) -> None:
        """Raises for the pool whose condition does not fit the columns' types; returns if it is none of them."""
        for pool in self.policy.pools:
            try:
                self.con.execute(f"select count(*) from {portions} where {pool.predicate.sql}").fetchall()
            except (duckdb.ConversionException, duckdb.BinderException):
                what = f"pool {pool.name} compares a column with a value of another type"
                raise Refused(what, self.policy.where(pool.line), "compare text with text in quotes") from None

    def load_drivers(self) -> None:
        for rule in self.rules:
            for step in rule.steps:
                if step.driver and step.driver not in self.drivers and step.driver != ALLOCATED:
                    self.drivers[step.driver] = self.load_driver(step.driver, rule, step)

    def load_driver(self, name: str, rule: Rule, step: Step) -> _Driver:
        """The driver's rows, once; refused when a number is not exact or negative, or a row has a twin or no target."""
        con, where = self.con, self.policy.where(step.line)
        source = self.policy.drivers.get(name) or self.find_driver(name)
        if source is None:
            raise Refused(
                f"rule {rule.id}: unknown driver {name}", where, "bring a driver of that name, or correct the rule"
            )
        table = f"alloc_driver_{len(self.drivers)}"
        body = source if " " in source.strip() else f"from {source}"
        try:
            con.execute(f"create or replace temp table {table} as {body}")
        except duckdb.Error as error:
            if name not in self.policy.drivers:
                raise
            raise Refused(f"driver {name}: {str(error).splitlines()[0][:160]}", where, "correct its SELECT") from None
        types = {row[0].lower(): row[1].upper() for row in con.execute(f"describe {table}").fetchall()}
        missing = [column for column in ("target", "weight") if column not in types]
        if missing:
            raise Refused(
                f"driver {name} has no column {missing[0]}", where, "a driver has target, weight and its keys"
            )
        if (
            not types["weight"].startswith(("DECIMAL", "BIGNUM"))
            and not types["weight"].endswith("INT")
            and types["weight"] != "INTEGER"
        ):
            raise Refused(
                f"driver {name} has weights of type {types['weight']}",
                where,
                "cast them to a whole number or a DECIMAL",
            )
        keys = ", ".join(_quoted(column) for column in types if column != "weight")
        bad = con.execute(
            f"""
            select 'a row without a target' from {table} where nullif(target::varchar, '') is null
            union all
            select 'a negative weight for ' || target::varchar from {table} where weight::varchar like '-%' and weight < 0
            union all
            select 'two rows for the same key and target ' || any_value(target::varchar)
            from (select {keys}, count(*) as n from {table} group by all having count(*) > 1) having count(*) > 0
            limit 1
            """
        ).fetchall()
        if bad:
            raise Refused(f"driver {name} has {bad[0][0]}", where, "correct the driver")
        if self.known_targets is not None:
            known = sorted(self.known_targets | {UNALLOCATED, *self.policy.support_teams})
            odd = con.execute(
                f"select min(target::varchar) from {table} where target::varchar not in (select unnest($known))",
                {"known": known},
            )
            if (found := odd.fetchall()[0][0]) is not None:
                raise Refused(f"driver {name} names the unknown team {found}", where, "name a team of teams.yaml")
        return _Driver(table, frozenset(types), types["weight"] == "BIGNUM")

    def support_order(self) -> list[tuple[str, ...]]:
        """Support teams in the order in which they pass cost on, by the rules and by whom their drivers name."""
        teams = self.policy.support_teams
        if self.policy.cycles == "step_down":
            return [(team,) for team in self.policy.order]
        flows = self.policy.flows(self.rules)
        for rule in (rule for rule in self.rules if rule.pool in teams):
            for step in rule.steps:
                if step.driver and step.driver != ALLOCATED:
                    found = self.con.execute(
                        f"select distinct target::varchar from {self.drivers[step.driver].table} where target::varchar in (select unnest($teams))"
                        f" and {self.eligible(rule, self.drivers[step.driver])}",
                        {"teams": list(teams)},
                    ).fetchall()
                    flows |= {(rule.pool, target) for (target,) in found if target != rule.pool}
        order = groups(teams, flows)
        for group in order:
            if len(group) > 1 and self.policy.cycles == "error":
                line = next(rule.line for rule in self.rules if rule.pool in group)
                fix = "say cycles: reciprocal, or step_down with an order"
                raise Refused(
                    f"{' and '.join(group)} pass cost to each other by their drivers", self.policy.where(line), fix
                )
        return order

    def eligible(self, rule: Rule, driver: _Driver) -> str:
        if rule.eligible is None:
            return "true"
        return self.condition(rule, rule.eligible, driver.columns)

    def condition(self, rule: Rule, eligible: Predicate, columns: frozenset[str]) -> str:
        missing = sorted(eligible.columns - columns)
        if missing:
            fix = "use a column of every driver of the rule"
            raise Refused(
                f"rule {rule.id}: eligible names the unknown column {missing[0]}", self.policy.where(rule.line), fix
            )
        return f"({eligible.sql})"

    # One stage ----------------------------------------------------------------------------------------------------

    def stage(self, number: int, pools: tuple[str, ...]) -> None:
        """Split what the pools hold: their own portions and, for support teams, what has landed there."""
        con = self.con
        sums = ", ".join(f"sum({m})::hugeint as {m}" for m in self.amounts)
        plain = ", ".join(self.amounts)
        con.execute(
            f"""
            create or replace temp table alloc_items as
            with held as (
                select _pid, _pool as pool, {plain} from alloc_portions where _pool in (select unnest($pools))
                union all
                select _pid, pool, {plain} from alloc_landed where pool in (select unnest($pools))
            )
            select _pid, pool, {sums} from held group by all
            """,
            {"pools": list(pools)},
        )
        con.execute(
            "create or replace temp table alloc_split(_pid bigint, pool varchar, pot bigint, low int, high int, whole int, note varchar)"
        )
        if any(step.driver == ALLOCATED for rule in self.rules if rule.pool in pools for step in rule.steps):
            self.drivers[ALLOCATED] = self.held_so_far()
        mutual = len(pools) > 1 and pools[0] in self.policy.support_teams
        source = (
            "(select distinct _pid from alloc_items) cross join (select unnest($pools) as pool)"
            if mutual
            else "alloc_items"
        )
        con.execute(
            f"""
            create or replace temp table alloc_work as
            select i._pid, i.pool, r.no
            from (select _pid, pool from {source}) i
            join alloc_portions p on p._pid = i._pid
            join alloc_rules r on r.pool = i.pool and p.usage_date >= r.start_on and p.usage_date < r.end_on
            """,
            {"pools": list(pools)} if mutual else {},
        )
        busy = {no for (no,) in con.execute("select distinct no from alloc_work").fetchall()}
        for no in sorted(busy):
            self.resolve(number, no, self.rules[no])
        if mutual:
            self.solve(number, pools)
        self.weigh()
        self.split()

    def held_so_far(self) -> _Driver:
        """`@allocated`: the first measure that owners hold from earlier stages; owners below zero do not count."""
        by = sorted(
            {
                column.lower()
                for rule in self.rules
                for step in rule.steps
                if step.driver == ALLOCATED
                for column in step.by
            }
        )
        columns = "".join(f", p.{_quoted(column)}" for column in by if column != "usage_date")
        self.con.execute(
            f"""
            create or replace temp table alloc_driver_held as
            select p.usage_date{columns}, f.target, sum(f.m0)::hugeint as weight
            from alloc_final f join alloc_portions p on p._pid = f._pid
            where f.target <> $unallocated
            group by all
            """,
            {"unallocated": UNALLOCATED},
        )
        return _Driver("alloc_driver_held", frozenset({"usage_date", "target", "weight", *by}), False)

    # Pots and their weights ---------------------------------------------------------------------------------------

    def resolve(self, stage: int, no: int, rule: Rule) -> None:
        """Find each item of one rule its pot, part by part; a part without any owner leaves its share to the others."""
        con = self.con
        con.execute("create or replace temp table alloc_found(_pid bigint, pot bigint, part int, share int)")
        failed: list[str] = []
        for number, part in enumerate(rule.parts):
            con.execute("create or replace temp table alloc_open as select _pid from alloc_work where no = ?", [no])
            failed += self.resolve_part(stage, rule, number, part)
        con.execute(
            """
            create or replace temp table alloc_open as
            select _pid from alloc_work where no = $no and _pid not in (select _pid from alloc_found)
            """,
            {"no": no},
        )
        if con.execute("select count(*) from alloc_open").fetchall()[0][0]:
            level = max(len(part.chain) for part in rule.parts)
            pot = self.new_pot(
                rule, stage, "", None, level, "; ".join(dict.fromkeys(failed)) or "nobody is left to pay"
            )
            self.add_weights([(pot, UNALLOCATED, None, 1)])
            con.execute("insert into alloc_found select _pid, ?, 0, 1 from alloc_open", [pot])
        con.execute(
            """
            insert into alloc_split
            select
                _pid, $pool, pot, (sum(share) over pid - share)::int, (sum(share) over pid)::int, (sum(share) over whole)::int,
                case when $parts > 1 and sum(share) over whole between 2 and 9999 then $note end
            from alloc_found
            window pid as (partition by _pid order by part rows unbounded preceding), whole as (partition by _pid)
            """,
            {"pool": rule.pool, "parts": len(rule.parts), "note": "a part had no weights: the others took its share"},
        )

    def resolve_part(self, stage: int, rule: Rule, number: int, part: Part) -> list[str]:
        """Try the steps of one part in order; returns why steps failed, for whatever is still open."""
        failed: list[str] = []
        for level, step in enumerate(part.chain):
            reason = "; ".join(failed) or None
            if step.kind == "owner":
                self.owner_pots(stage, rule, part, step, level, reason)
                failed.append(f"no owner in {step.name}")
            elif step.driver:
                self.driver_pots(stage, rule, part, step, level, reason)
                failed.append(f"driver {step.name} is zero or missing")
            else:
                self.constant_pot(stage, rule, part, step, level, reason)
                failed.append(f"{step.name or 'the fixed weights'} cannot take it")
            self.con.execute("insert into alloc_found select _pid, pot, ?, ? from alloc_hits", [number, part.share])
            self.con.execute("delete from alloc_open where _pid in (select _pid from alloc_hits)")
            if not self.con.execute("select count(*) from alloc_open").fetchall()[0][0]:
                break
        return failed

    def closed(self, rule: Rule) -> list[str]:
        return sorted(self.policy.closed(rule.pool)) if rule.pool in self.policy.support_teams else []

    def new_pot(self, rule: Rule, stage: int, part: str, driver: str | None, level: int, reason: str | None) -> int:
        self.pots += 1
        self.con.execute(
            "insert into alloc_pots values (?, ?, ?, ?, ?, ?, ?, ?, ?, null, null)",
            [self.pots, rule.id, rule.pool, rule.method, part, stage, driver, level, reason],
        )
        return self.pots

    def add_weights(self, rows: list[tuple[int, str, Decimal | None, int]]) -> None:
        """(pot, target, shown quantity, whole weight)"""
        values = [
            (pot, target, quantity, w if w < SAFE else None, str(w) if w >= SAFE else None)
            for pot, target, quantity, w in rows
        ]
        self.con.executemany("insert into alloc_weights(pot, target, quantity, w, big) values (?, ?, ?, ?, ?)", values)

    def constant_pot(self, stage: int, rule: Rule, part: Part, step: Step, level: int, reason: str | None) -> None:
        closed = self.closed(rule)
        if step.kind == "to":
            weights = [(step.name, Decimal(1))] if step.name not in closed else []
            if step.name == UNALLOCATED and reason is None:
                reason = f"rule {rule.id} leaves it unallocated"
        else:
            weights = [(target, weight) for target, weight in step.weights if weight > 0 and target not in closed]
            if rule.eligible:
                weights = self.eligible_weights(rule, weights)
        self.con.execute("create or replace temp table alloc_hits(_pid bigint, pot bigint)")
        if not weights:
            return
        pot = self.new_pot(rule, stage, part.label, None, level, reason)
        whole = kernel.integers([Fraction(weight) for _, weight in weights])
        shown = [None if step.kind == "to" else weight for _, weight in weights]
        self.add_weights(
            [(pot, target, quantity, w) for (target, _), quantity, w in zip(weights, shown, whole, strict=True)]
        )
        self.con.execute("insert into alloc_hits select _pid, ? from alloc_open", [pot])

    def eligible_weights(self, rule: Rule, weights: list[tuple[str, Decimal]]) -> list[tuple[str, Decimal]]:
        condition = self.condition(rule, rule.eligible, frozenset({"target"})) if rule.eligible else "true"
        rows = self.con.execute(
            f"select target from (select unnest($targets) as target) where {condition}",
            {"targets": [target for target, _ in weights]},
        ).fetchall()
        kept = {target for (target,) in rows}
        return [(target, weight) for target, weight in weights if target in kept]

    def owner_pots(self, stage: int, rule: Rule, part: Part, step: Step, level: int, reason: str | None) -> None:
        owner = f"nullif(trim(p.{_quoted(step.name)}::varchar), '')"
        self.con.execute(
            f"""
            create or replace temp table alloc_keys as
            select row_number() over (order by owner) + {self.pots} as pot, owner
            from (select distinct {owner} as owner from alloc_open o join alloc_portions p on p._pid = o._pid)
            where owner is not null and owner not in (select unnest($closed::varchar[]))
            """,
            {"closed": self.closed(rule)},
        )
        self.con.execute("insert into alloc_weights(pot, target, w) select pot, owner, 1 from alloc_keys")
        self.con.execute(
            f"""
            create or replace temp table alloc_hits as
            select o._pid, k.pot
            from alloc_open o join alloc_portions p on p._pid = o._pid join alloc_keys k on k.owner = {owner}
            """
        )
        self.record_pots(rule, stage, part, None, level, reason)

    def record_pots(
        self, rule: Rule, stage: int, part: Part, driver: str | None, level: int, reason: str | None
    ) -> None:
        """The pots that alloc_hits names, and the numbers of alloc_keys as used."""
        self.con.execute(
            "insert into alloc_pots select distinct pot, ?, ?, ?, ?, ?::int, ?, ?::int, ?, null::hugeint, null::decimal(38, 12) from alloc_hits",
            [rule.id, rule.pool, rule.method, part.label, stage, driver, level, reason],
        )
        self.pots = max(self.pots, self.con.execute("select coalesce(max(pot), 0) from alloc_keys").fetchall()[0][0])

    def driver_pots(self, stage: int, rule: Rule, part: Part, step: Step, level: int, reason: str | None) -> None:
        """Pots by the step's keys; weights are the driver's rows that fit the key, where a blank key fits any."""
        con, driver = self.con, self.drivers[step.driver or ""]
        by = [column.lower() for column in step.by]
        keys = [f"k{i}" for i in range(len(by))]
        dated = step.window == "day" and "usage_date" in driver.columns
        if dated:
            keys.append("k_day")
        wanted = [f"nullif(p.{_quoted(column)}::varchar, '') as k{i}" for i, column in enumerate(by)] + [
            "p.usage_date as k_day"
        ] * dated
        con.execute(
            f"""
            create or replace temp table alloc_keys as
            select row_number() over () + {self.pots} as pot, *
            from (select distinct {", ".join([*wanted, "1 as one"])} from alloc_open o join alloc_portions p on p._pid = o._pid)
            """
        )
        self.driver_rows(rule, step, driver, by, dated)
        self.match(keys)
        if step.kind == "even":
            con.execute(
                "create or replace temp table alloc_raw as select distinct pot, target, 1::hugeint as weight from alloc_match"
            )
            own: list[str] = []
        else:
            own = self.own_dims(driver)
            con.execute(
                f"create or replace temp table alloc_raw as select pot, target{''.join(f', {d}' for d in own)}, sum(weight) as weight"
                " from alloc_match group by all having sum(weight) > 0"
            )
        self.keep_weights(own, driver.big and step.kind != "even")
        fits = " and ".join(
            f"k.k{i} is not distinct from nullif(p.{_quoted(column)}::varchar, '')" for i, column in enumerate(by)
        )
        fits = " and ".join(x for x in (fits, "k.k_day = p.usage_date" if dated else "") if x) or "true"
        con.execute(
            f"""
            create or replace temp table alloc_hits as
            select o._pid, k.pot
            from alloc_open o join alloc_portions p on p._pid = o._pid join alloc_keys k on {fits}
            where k.pot in (select pot from alloc_raw)
            """
        )
        self.record_pots(rule, stage, part, step.name, level, reason)

    def own_dims(self, driver: _Driver) -> list[str]:
        return [d for d in self.dims if d.strip('"').lower() in driver.columns]

    def driver_rows(self, rule: Rule, step: Step, driver: _Driver, by: list[str], dated: bool) -> None:
        """alloc_rows: the driver's rows that may count for this step, summed per key, target and dims."""
        keys = [
            f"nullif({_quoted(column)}::varchar, '') as k{i}" if column in driver.columns else f"null::varchar as k{i}"
            for i, column in enumerate(by)
        ]
        keys += ["usage_date::date as k_day"] * dated
        dims = [f"{d}::varchar as {d}" for d in self.own_dims(driver)]
        start, end = max(self.period[0], rule.start), min(self.period[1], rule.end)
        days = "(usage_date is null or usage_date::date >= $start and usage_date::date < $end)"
        timed = "usage_date" in driver.columns and not dated
        self.con.execute(
            f"""
            create or replace temp table alloc_rows as
            select {", ".join([*keys, "target::varchar as target", *dims, "sum(weight) as weight"])}
            from {driver.table}
            where {self.eligible(rule, driver)} and target::varchar not in (select unnest($closed::varchar[])) and {days if timed else "true"}
            group by all
            """,
            {"closed": self.closed(rule), **({"start": start, "end": end} if timed else {})},
        )

    def match(self, keys: list[str]) -> None:
        """alloc_match: rows of alloc_rows with the pots they hold for. One hash join for each set of filled keys."""
        con = self.con
        con.execute("create or replace temp table alloc_match as select 0::bigint as pot, * from alloc_rows limit 0")
        filled = ", ".join(f"{key} is not null" for key in keys)
        masks = con.execute(f"select distinct {filled} from alloc_rows").fetchall() if keys else [()]
        for mask in masks:
            on = " and ".join(f"k.{key} = r.{key}" for key, there in zip(keys, mask, strict=True) if there) or "true"
            where = (
                " and ".join(f"r.{key} is {'not ' if there else ''}null" for key, there in zip(keys, mask, strict=True))
                or "true"
            )
            con.execute(
                f"insert into alloc_match select k.pot, r.* from alloc_rows r join alloc_keys k on {on} where {where}"
            )

    def keep_weights(self, dims: list[str], big: bool) -> None:
        """alloc_raw into alloc_weights, as whole numbers."""
        names = "".join(f", {d}" for d in dims)
        if not big:
            self.con.execute(
                f"insert into alloc_weights(pot, target{names}, quantity, w)"
                f" select pot, target{names}, try_cast(weight as decimal(38, 12)), {_units('weight')} from alloc_raw"
            )
            return
        pots: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in self.con.execute(f"select pot, target{names}, weight::varchar from alloc_raw").fetchall():
            pots[row[0]].append(row)
        rows = []
        for members in pots.values():
            weights = [int(row[-1]) for row in members]
            whole = kernel.integers(weights)
            shown = next((w for w in (weights, whole) if sum(w) < SHOWN), [None] * len(whole))
            for row, quantity, w in zip(members, shown, whole, strict=True):
                rows.append((*row[:-1], quantity, w if w < SAFE else None, str(w) if w >= SAFE else None))
        marks = ", ".join("?" * (len(dims) + 5))
        self.con.executemany(f"insert into alloc_weights(pot, target{names}, quantity, w, big) values ({marks})", rows)

    def solve(self, stage: int, teams: tuple[str, ...]) -> None:
        """Support teams that serve each other: what each item ends up as, solved exactly once per set of pots."""
        con = self.con
        self.weigh()
        con.execute(
            """
            create or replace temp table alloc_alike as
            select _pid, list({'pool': pool, 'pot': pot, 'share': high - low, 'whole': whole} order by pool, low) as flows
            from alloc_split group by _pid
            """
        )
        chosen = ", ".join(["target", *self.dims])
        rows = con.execute(
            f"select pot, coalesce(big, w::varchar), {chosen} from alloc_weights where pot in (select pot from alloc_split)"
        ).fetchall()
        weights: dict[int, list[tuple[tuple[Any, ...], int]]] = defaultdict(list)
        for pot, w, *key in rows:
            weights[pot].append((tuple(key), int(w)))
        levels = {
            row[0]: row[1:]
            for row in con.execute(
                "select pot, fallback_level, reason, rule_id from alloc_pots where stage = ?", [stage]
            ).fetchall()
        }
        con.execute(
            "create or replace temp table alloc_solved(flows struct(pool varchar, pot bigint, share int, whole int)[], pool varchar, pot bigint)"
        )
        rules = {rule.id: rule for rule in self.rules}
        for (flows,) in con.execute("select distinct flows from alloc_alike").fetchall():
            sent: dict[str, dict[Any, Fraction]] = {team: defaultdict(Fraction) for team in teams}
            for flow in flows:
                total = sum(w for _, w in weights[flow["pot"]])
                for key, w in weights[flow["pot"]]:
                    to = key[0] if key[0] in sent else key
                    sent[flow["pool"]][to] += Fraction(flow["share"], flow["whole"]) * Fraction(w, total)
            ends = kernel.reciprocal(sent)
            for team in teams:
                own = [levels[flow["pot"]] for flow in flows if flow["pool"] == team]
                reason = (
                    max((r for _, r, _ in own if r), default=None)
                    if ends
                    else "the support teams send cost only to each other"
                )
                pot = self.new_pot(rules[own[0][2]], stage, "", "reciprocal", max(level for level, _, _ in own), reason)
                shares = ends[team] if ends else {(UNALLOCATED, *(None for _ in self.dims)): Fraction(1)}
                self.add_shares(pot, shares)
                con.execute("insert into alloc_solved values (?, ?, ?)", [flows, team, pot])
        con.execute(
            """
            create or replace temp table alloc_split as
            select i._pid, i.pool, s.pot, 0 as low, 1 as high, 1 as whole, null::varchar as note
            from alloc_items i join alloc_alike a on a._pid = i._pid join alloc_solved s on s.flows = a.flows and s.pool = i.pool
            """
        )

    def add_shares(self, pot: int, shares: dict[Any, Fraction]) -> None:
        """Exact shares as weights; shown as decimals of one."""
        keys = list(shares)
        whole = kernel.integers([shares[key] for key in keys])
        unit = Decimal(1).scaleb(-12)
        shown = [Decimal(part) * unit for part in kernel.split(10**12, whole, [str(key) for key in keys])]
        rows = [
            (pot, *key, q, w if w < SAFE else None, str(w) if w >= SAFE else None)
            for key, q, w in zip(keys, shown, whole, strict=True)
        ]
        marks = ", ".join("?" * (5 + len(self.dims)))
        names = "".join(f", {d}" for d in self.dims)
        self.con.executemany(f"insert into alloc_weights(pot, target{names}, quantity, w, big) values ({marks})", rows)

    # Splitting ----------------------------------------------------------------------------------------------------

    def weigh(self) -> None:
        """Order and total of the weights of new pots; a pot whose total leaves HUGEINT is marked by a missing total."""
        order = ", ".join(["target", *(f"{d} nulls first" for d in self.dims)])
        dims = "".join(f", {d}" for d in self.dims)
        self.con.execute(
            f"""
            create or replace temp table alloc_new as
            select pot, row_number() over (partition by pot order by {order}) as ord, target{dims}, quantity, w, big
            from alloc_weights where ord is null
            """
        )
        self.con.execute("delete from alloc_weights where ord is null")
        self.con.execute("insert into alloc_weights from alloc_new")
        self.con.execute(
            f"""
            with safe as (
                select pot from alloc_new group by pot having sum(coalesce(w::double, 1e300)) < {SAFE}
            ),
            totals as (
                select n.pot, sum(case when s.pot is not null then n.w end)::hugeint as total,
                    case when sum(n.quantity::double) < 1e25 then try_cast(sum(n.quantity) as decimal(38, 12)) end as driver_total
                from (select pot, w, case when abs(quantity) < 1e25::decimal(38, 12) then quantity end as quantity from alloc_new) n
                left join safe s on s.pot = n.pot
                group by n.pot
            )
            update alloc_pots set total = t.total, driver_total = t.driver_total from totals t where t.pot = alloc_pots.pot
            """
        )

    def split(self) -> None:
        """Every item over the weights of its pots; what reaches a support team lands there, the rest is final."""
        con = self.con
        largest = f"greatest({', '.join(f'abs({m}::double)' for m in self.amounts)}, 0)"
        con.execute(
            f"""
            create or replace temp table alloc_cuts as
            select row_number() over () as n, i._pid, i.pool, s.pot, s.low, s.high, s.whole, s.note, c.members,
                p.total is null or {largest} * greatest(p.total::double, s.whole) >= {SAFE} as big
            from alloc_items i
            join alloc_split s on s._pid = i._pid and s.pool = i.pool
            join alloc_pots p on p.pot = s.pot
            join (select pot, count(*) as members from alloc_weights group by pot) c on c.pot = s.pot
            """
        )
        chunks = con.execute(
            f"""
            with running as (select n, sum(members) over (order by n rows unbounded preceding) // {CHUNK} as chunk from alloc_cuts where not big)
            select min(n), max(n) from running group by chunk order by 1
            """
        ).fetchall()
        for first, last in chunks:
            self.split_chunk(first, last)
            self.settle()
        self.split_big()
        self.settle()

    def split_chunk(self, first: int, last: int) -> None:
        dims = "".join(f", w.{d}" for d in self.dims)
        names = "".join(f", {d}" for d in self.dims)
        m = self.amounts
        cut = ", ".join(
            f"case when c.whole = c.high - c.low then i.{a} else sign(i.{a})::hugeint * (abs(i.{a}) * c.high // c.whole - abs(i.{a}) * c.low // c.whole) end as {a}"
            for a in m
        )
        quotients = ", ".join(f"abs(u.{a}) * w.w // u.total as q_{a}, abs(u.{a}) * w.w % u.total as r_{a}" for a in m)
        short = ", ".join(
            f"abs({a}) - sum(q_{a}) over cut as s_{a}, row_number() over (partition by n order by r_{a} desc, ord) as n_{a}"
            for a in m
        )
        parts = ", ".join(
            f"(sign({a}) * (q_{a} + case when n_{a} <= s_{a} then 1 else 0 end))::hugeint as {a}" for a in m
        )
        bounds = {"first": first, "last": last}
        cuts = f"""
            select c.n, c._pid, c.pot, c.note, c.members, p.total, {cut}
            from alloc_cuts c
            join alloc_items i on i._pid = c._pid and i.pool = c.pool
            join alloc_pots p on p.pot = c.pot
            where c.n between $first and $last and not c.big
        """
        self.con.execute(
            f"""
            create or replace temp table alloc_out as
            with cuts as ({cuts}),
            shares as (
                select u.n, u._pid, u.pot, u.note, w.ord, w.target{dims}, w.quantity, {", ".join(f"u.{a}" for a in m)}, {quotients}
                from cuts u join alloc_weights w on w.pot = u.pot
                where u.members > 1
            ),
            ranked as (
                select *, {short} from shares window cut as (partition by n)
            )
            select _pid, pot, note, target{names}, quantity, {parts} from ranked
            union all
            select u._pid, u.pot, u.note, w.target{dims}, w.quantity, {", ".join(f"u.{a}" for a in m)}
            from cuts u join alloc_weights w on w.pot = u.pot
            where u.members = 1
            """,
            bounds,
        )

    def split_big(self) -> None:
        """The few cuts whose products leave HUGEINT, by the kernel in Python; the same result."""
        con, m = self.con, self.amounts
        names = "".join(f", {d}" for d in self.dims)
        con.execute("create or replace temp table alloc_out as select * from alloc_final limit 0")
        big = con.execute(
            f"""
            select c._pid, c.pot, c.note, c.low, c.high, c.whole, {", ".join(f"i.{a}::varchar" for a in m)}
            from alloc_cuts c join alloc_items i on i._pid = c._pid and i.pool = c.pool
            where c.big
            """
        ).fetchall()
        if not big:
            return
        weights: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for pot, ord_, w in con.execute(
            "select pot, ord, coalesce(big, w::varchar) from alloc_weights where pot in (select pot from alloc_cuts where big) order by pot, ord"
        ).fetchall():
            weights[pot].append((ord_, int(w)))
        columns: dict[str, list[Any]] = {name: [] for name in ("_pid", "pot", "note", "ord", *m)}
        for pid, pot, note, low, high, whole, *amounts in big:
            ords = [ord_ for ord_, _ in weights[pot]]
            units = [w for _, w in weights[pot]]
            for name, text in zip(m, amounts, strict=True):
                amount = int(text)
                cut = abs(amount) * high // whole - abs(amount) * low // whole
                columns[name] += [str(part) for part in kernel.split(cut if amount >= 0 else -cut, units, ords)]
            columns["_pid"] += [pid] * len(ords)
            columns["pot"] += [pot] * len(ords)
            columns["note"] += [note] * len(ords)
            columns["ord"] += ords
        types = {"_pid": pa.int64(), "pot": pa.int64(), "ord": pa.int64()}
        con.register(
            "alloc_big",
            pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()}),
        )
        con.execute(
            f"""
            insert into alloc_out
            select b._pid, b.pot, b.note, w.target{names}, w.quantity, {", ".join(f"b.{a}::hugeint" for a in m)}
            from alloc_big b join alloc_weights w on w.pot = b.pot and w.ord = b.ord
            """
        )
        con.unregister("alloc_big")

    def settle(self) -> None:
        """alloc_out to the final owners, or to the support teams that pass it on."""
        support = {"support": list(self.policy.support_teams)}
        held = "target in (select unnest($support::varchar[]))"
        self.con.execute(f"insert into alloc_final from alloc_out where not {held}", support)
        self.con.execute(f"insert into alloc_steps from alloc_out where {held}", support)
        self.con.execute(
            f"insert into alloc_landed select _pid, target, {', '.join(self.amounts)} from alloc_out where {held}",
            support,
        )

    # After the last stage -----------------------------------------------------------------------------------------

    def assert_conserved(self) -> None:
        """Raises ArithmeticError unless the owners' parts of every portion add up to it in every measure."""
        sums = ", ".join(f"sum({m}) as {m}" for m in self.amounts)
        differs = " or ".join(f"f.{m} is distinct from p.{m}" for m in self.amounts)
        bad = self.con.execute(
            f"""
            with owned as (select _pid, {sums} from alloc_final group by _pid)
            select p.charge_id, p.portion, count(*) over ()
            from alloc_portions p full join owned f on f._pid = p._pid
            where {differs}
            limit 1
            """
        ).fetchall()
        if bad:
            charge, portion, count = bad[0]
            raise ArithmeticError(
                f"{count} portions do not add up after allocation, the first is {portion} of charge {charge}"
            )

    def results(self) -> None:
        """The two views that others read."""
        dims = "".join(f", f.{d}" for d in self.dims)
        money = ", ".join(
            f"{_money(f'f.{a}')} as {_quoted(m)}" for a, m in zip(self.amounts, self.measures, strict=True)
        )
        for view, table in (("allocations", "alloc_final"), ("allocation_steps", "alloc_steps")):
            self.con.execute(
                f"""
                create or replace temp view {view} as
                select
                    p.charge_id, p.portion, t.part, t.stage, t.cost_pool, t.rule_id, t.method, t.driver, f.target{dims},
                    f.quantity as driver_quantity, t.driver_total, t.fallback_level,
                    case when f.target = '{UNALLOCATED}' then coalesce(t.reason, f.note, 'the driver names no owner')
                        else coalesce(t.reason, f.note) end as reason,
                    {money}
                from {table} f
                join alloc_pots t on t.pot = f.pot
                join alloc_portions p on p._pid = f._pid
                """
            )
        for driver in self.drivers.values():
            self.con.execute(f"drop table if exists {driver.table}")
