"""Runs the rules over a whole period inside DuckDB: portions -> pots -> weights -> exact parts, stage by stage.

A *pot* is what one step of one rule splits by the same weights: all charges that share the step's `by` values (and the day,
with `window: day`). Weights are found once per pot, and a cap or a cutoff changes them there; then every charge in it is split
on its own, by largest remainder over whole pico-units, for every measure. Tables named alloc_* are this module's own:

    alloc_portions  the portions with a number (_pid) and their pool      alloc_pots     pot -> rule, step, why this step
    alloc_items     what the current stage splits: _pid, pool, measures   alloc_weights  pot, ord -> target, dims and weight
    alloc_split     _pid, pool -> pots, with the share of each part       alloc_totals   pot -> its weights as a list, their sum
    alloc_landed    what support teams hold and still pass on             alloc_final    parts that found their owner
    alloc_loose     weights as found, before their order and sum          alloc_steps    parts that reached a support team
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal
from fractions import Fraction
from functools import reduce
from math import lcm
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from pipelines.allocation import kernel, words
from pipelines.allocation.rules import (
    ALLOCATED,
    BASIS_POINTS,
    UNALLOCATED,
    AllocationPolicy,
    Part,
    Rule,
    Step,
    groups,
)
from pipelines.errors import Refused

CHUNK = 400_000  # amounts that one splitting statement makes, so that memory stays bounded
FULL = 140_000  # rows at least that it makes: below a row group of 122,880 an insert costs ten times as much
SAFE = 1e37  # products below this fit HUGEINT (1.7e38) whatever the rounding of the estimate
NEAR = 1e29  # amounts below this divide exactly by two estimates, see _Run.split_chunk
SHOWN = Decimal(10) ** 25  # quantities from here on may not fit DECIMAL(38,12) when summed
UNFIT = (duckdb.DataError, duckdb.ProgrammingError)  # what a condition raises that does not fit its columns
PLACES = 12  # decimals of every amount and quantity
PICO = 10**PLACES  # units of one
EXACT = Context(prec=60)  # for sums of quantities, which may have 38 digits


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
    big: bool = False  # weights are BIGNUM
    decimals: int = 0  # of its weights
    blank_is_any: bool = True  # a row without a key holds for every key


class _Weight(NamedTuple):
    """One target of one pot: what the driver says (`quantity`), and the whole number that decides.

    `exact` says that the quantities of the pot are in the same proportions as its whole numbers.
    """

    pot: int
    target: str
    dims: tuple[str | None, ...]
    quantity: Decimal | None
    w: int
    exact: bool
    note: str | None = None


class _Passage(NamedTuple):
    """What one support team sends to another that serves it too: a share of all that passes through, by one weight of a pot."""

    source: str
    target: str
    share: Fraction
    pot: int
    ord: int
    note: str | None


@dataclass(frozen=True)
class _Passages:
    """The passages of one set of pots, as whole numbers: `parts[n][team] / unit` of what arrives at `team` goes through n.

    After those in `between` come the parts that leave each team for owners, so that what arrives is what is passed on.
    """

    between: list[_Passage]
    ends: list[tuple[str, str]]
    parts: list[dict[str, int]]
    unit: int

    @classmethod
    def of(cls, sent: dict[str, dict[Any, Fraction]], between: list[_Passage]) -> _Passages:
        through = kernel.visits(sent)
        out = [(one.source, one.target, one.share) for one in between]
        out += [(team, "", sum((share for to, share in shares.items() if to not in sent), Fraction(0))) for team, shares in sent.items()]
        exact = [{team: share * through[team].get(source, Fraction(0)) for team in sent} for source, _, share in out]
        unit = lcm(*(part.denominator for parts in exact for part in parts.values()))
        return cls(between, [(a, b) for a, b, _ in out], [{t: int(part * unit) for t, part in parts.items()} for parts in exact], unit)

    def sent(self, arrived: dict[str, int]) -> list[int]:
        """Whole pico-units through each passage when so much arrives from outside; for every team they balance."""
        amounts = [sum(parts[team] * amount for team, amount in arrived.items()) for parts in self.parts]
        return kernel.whole_flows(self.ends, amounts, self.unit)

    def reached(self, number: int, arrived: Collection[str]) -> bool:
        return any(self.parts[number][team] for team in arrived)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _units(column: str, decimals: int) -> str:
    """A DECIMAL or integer column as the whole number of its last decimals, at any size.

    Up to 2^48 by DOUBLE, which is off by less than 0.2 there (a quotient, a product and their powers of ten, each by 2^-53 of it)
    and then rounded; above by its text.
    """
    near = f"abs({column}) < {Decimal(2**48).scaleb(-decimals):.{decimals}f}"
    return f"case when {near} then ({column}::double * 1e{decimals})::hugeint else replace({column}::varchar, '.', '')::hugeint end"


def _money(units: str) -> str:
    return f"({units}::decimal(38, 0) * 0.000000000001::decimal(12, 12))::decimal(38, 12)"


def _plain(decimal: str) -> str:
    """A DECIMAL with decimals as text, without the zeros at its end."""
    return f"rtrim(rtrim({decimal}::varchar, '0'), '.')"


def _fits(number: Decimal) -> bool:
    """Whether DECIMAL(38,12) holds it as it is."""
    return number < SHOWN and (Fraction(number) * PICO).denominator == 1


def _cut(amount: str) -> str:
    """The part of `amount` from `low` to `high` of `whole` in alloc_split s. Rounded cumulatively: parts add up exactly."""
    units, rest = f"abs({amount}) // s.whole", f"abs({amount}) % s.whole"
    high, low = (f"({units} * s.{end} + {rest} * s.{end} // s.whole)" for end in ("high", "low"))
    return f"case when s.low = 0 and s.high = s.whole then {amount} else (sign({amount}) * ({high} - {low}))::hugeint end"


def _limited(part: Part, members: list[_Weight], amount: int, most: dict[str, Fraction]) -> list[_Weight]:
    """The weights of one pot after its cap, then its cutoff; nothing if these change nothing.

    `amount` is what the pot splits of the first measure, in pico-units; `most` what the cap's driver says for each owner.
    Only a pot above zero can be over a cap. Quantities stay what the driver says.
    """
    cap, cutoff = part.cap, part.cutoff
    total = sum(member.w for member in members)
    owned: dict[str, int] = defaultdict(int)
    for member in members:
        owned[member.target] += member.w
    before = {owner: Fraction(w, total) for owner, w in owned.items()}
    after, over = before, Fraction(0)
    notes: dict[str, list[str]] = defaultdict(list)
    if cap and amount > 0:
        limits = {owner: Fraction(cap.times) * value * PICO / amount for owner, value in most.items()}
        after, over = kernel.capped(before, limits, exempt=cap.excess)
        for owner in (owner for owner in before if after[owner] < before[owner]):
            notes[owner].append(words.limited(cap.times, cap.of))
        if over:
            notes[cap.excess].append(words.excess(cap.times, cap.of))
    small = _small(part, after)
    if cutoff and small:
        notes[cutoff.to].append(words.small_shares(cutoff.below))
    if not notes:
        return []
    nobody = (None,) * len(members[0].dims)
    pieces = [(m._replace(exact=m.exact and not over), after[m.target] * Fraction(m.w, owned[m.target])) for m in members]
    if cutoff:
        pieces = [(m._replace(target=cutoff.to, dims=nobody) if m.target in small else m, share) for m, share in pieces]
    if cap and over:
        pieces.append((_Weight(members[0].pot, cap.excess, nobody, Decimal(0), 0, False), over))
    return _merged(pieces, notes)


def _small(part: Part, shares: dict[str, Fraction]) -> set[str]:
    """Owners below the cutoff; never one that the rule names to take what others do not."""
    if not part.cutoff:
        return set()
    named = {part.cutoff.to, part.cap.excess if part.cap else None}
    return {owner for owner, share in shares.items() if share * BASIS_POINTS < part.cutoff.below} - named


def _merged(pieces: list[tuple[_Weight, Fraction]], notes: dict[str, list[str]]) -> list[_Weight]:
    """One weight for each target and its dims, with quantities and shares summed."""
    groups: dict[tuple[str, tuple[str | None, ...]], list[tuple[_Weight, Fraction]]] = defaultdict(list)
    for piece in pieces:
        groups[piece[0].target, piece[0].dims].append(piece)
    merged = []
    whole = kernel.integers([sum(share for _, share in group) for group in groups.values()])
    for group, w in zip(groups.values(), whole, strict=True):
        quantities = [weight.quantity for weight, _ in group]
        first = group[0][0]
        merged.append(
            first._replace(
                quantity=None if None in quantities else reduce(EXACT.add, quantities),
                w=w,
                exact=all(weight.exact for weight, _ in group),
                note="; ".join(notes.get(first.target, [])) or None,
            )
        )
    return merged


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
        self.amounts = [f"_m{i}" for i in range(len(self.measures))]
        self.rules = [rule for rule in policy.rules if rule.overlaps(*period)]
        self.drivers: dict[str, _Driver] = {}
        self.columns: frozenset[str] = frozenset()
        self.pots = 0
        self.limited: list[tuple[Part, int, int]] = []  # with a cap or a cutoff: their pots, first and last

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
        units = ", ".join(f"{_units(f'{_quoted(m)}::decimal(38, 12)', PLACES)} as {self.amounts[i]}" for i, m in enumerate(self.measures))
        cases = " ".join(f"when {pool.predicate.sql} then $pool_{i}" for i, pool in enumerate(self.policy.pools))
        pools = {f"pool_{i}": pool.name for i, pool in enumerate(self.policy.pools)}
        try:
            con.execute(
                f"create or replace temp table alloc_portions as select row_number() over (order by charge_id, portion) as _pid,"
                f" case {cases} end as _pool, {units}, * from {portions}",
                pools,
            )
        except UNFIT:
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
            " driver varchar, fallback_level int, reason varchar, split_by varchar)"
        )
        weight = f"target varchar{dims}, quantity decimal(38, 12), w hugeint, big varchar, exact boolean, note varchar"
        con.execute(f"create or replace temp table alloc_loose(pot bigint, {weight})")
        con.execute(f"create or replace temp table alloc_weights(pot bigint, ord bigint, {weight})")
        con.execute(
            "create or replace temp table alloc_totals(pot bigint, members bigint, total hugeint, weights hugeint[], driver_total decimal(38, 12),"
            " exact boolean, shown varchar)"
        )
        con.execute("create or replace temp table alloc_limits(pot bigint, target varchar, most varchar)")
        for table in ("alloc_final", "alloc_steps"):
            con.execute(f"create or replace temp table {table}(_pid bigint, pot bigint, ord bigint, note varchar{sums})")
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
            except UNFIT:
                what = f"pool {pool.name} compares a column with a value of another type"
                raise Refused(what, self.policy.where(pool.line), "compare text with text in quotes") from None

    def load_drivers(self) -> None:
        for rule in self.rules:
            for part in rule.parts:
                for name, line in part.needs:
                    if name != ALLOCATED and name not in self.drivers:
                        self.drivers[name] = self.load_driver(name, rule, self.policy.where(line))

    def load_driver(self, name: str, rule: Rule, where: str) -> _Driver:
        """The driver's rows, once; refused when a number is not exact or negative, or a row has a twin or no target."""
        con = self.con
        source = self.policy.drivers.get(name) or self.find_driver(name)
        if source is None:
            raise Refused(
                f"rule {rule.id}: unknown driver {name}", where, "bring a driver of that name, or correct the rule"
            )
        table = f"alloc_driver_{len(self.drivers)}"
        body = source if " " in source.strip() else f"from {source}"
        try:
            types = {row[0].lower(): row[1].upper() for row in con.execute(f"describe {body}").fetchall()}
            self.check_columns(name, types, where)
            typed = "target::varchar as target" + ", usage_date::date as usage_date" * ("usage_date" in types)
            con.execute(f"create or replace temp table {table} as select * replace ({typed}) from ({body})")
        except duckdb.Error as error:
            if name not in self.policy.drivers:
                raise
            raise Refused(f"driver {name}: {str(error).splitlines()[0][:160]}", where, "correct its SELECT") from None
        keys = ", ".join(_quoted(column) for column in types if column != "weight")
        bad = con.execute(
            f"""
            select 'a row without a target' from {table} where nullif(target, '') is null
            union all
            select 'a row without a weight for ' || target from {table} where weight is null
            union all
            select 'a negative weight for ' || target from {table} where weight < 0
            union all
            select 'two rows for the same key and target ' || any_value(target)
            from (select {keys}, count(*) as n from {table} group by all having count(*) > 1) having count(*) > 0
            limit 1
            """
        ).fetchall()
        if bad:
            raise Refused(f"driver {name} has {bad[0][0]}", where, "correct the driver")
        if self.known_targets is not None:
            known = sorted(self.known_targets | {UNALLOCATED, *self.policy.support_teams})
            odd = con.execute(
                f"select min(target) from {table} where target not in (select unnest($known))", {"known": known}
            )
            if (found := odd.fetchall()[0][0]) is not None:
                raise Refused(f"driver {name} names the unknown team {found}", where, "name a team of teams.yaml")
        decimals = int(types["weight"].rstrip(")").split(",")[1]) if types["weight"].startswith("DECIMAL") else 0
        return _Driver(table, frozenset(types), types["weight"] == "BIGNUM", decimals)

    @staticmethod
    def check_columns(name: str, types: dict[str, str], where: str) -> None:
        missing = [column for column in ("target", "weight") if column not in types]
        if missing:
            raise Refused(
                f"driver {name} has no column {missing[0]}", where, "a driver has target, weight and its keys"
            )
        weight = types["weight"]
        if not weight.startswith(("DECIMAL", "BIGNUM")) and not weight.endswith("INT") and weight != "INTEGER":
            raise Refused(
                f"driver {name} has weights of type {weight}", where, "cast them to a whole number or a DECIMAL"
            )

    def support_order(self) -> list[tuple[str, ...]]:
        """Support teams in the order in which they pass cost on, by the rules and by whom their data name."""
        teams = self.policy.support_teams
        if self.policy.cycles == "step_down":
            return [(team,) for team in self.policy.order]
        passing = [rule for rule in self.rules if rule.pool in teams]
        flows = {rule.id: self.policy.flows([rule]) | self.flows_of_data(rule) for rule in passing}
        if self.policy.cycles == "error":
            for day in sorted({rule.start for rule in passing}):
                self.refuse_cycle([rule for rule in passing if rule.start <= day < rule.end], flows)
        return groups(teams, set().union(*flows.values()))

    def flows_of_data(self, rule: Rule) -> set[tuple[str, str]]:
        """(from, to) between different support teams, as far as the rule's drivers and owner columns name the receiver."""
        found: set[tuple[str, str]] = set()
        for step in rule.steps:
            if step.kind == "owner":
                source = f"(select trim({_quoted(step.name)}::varchar) as target from alloc_portions)"
                condition = self.eligible(rule, frozenset({"target"}))
            elif step.driver and step.driver != ALLOCATED:
                driver = self.drivers[step.driver]
                source = driver.table
                condition = f"{self.eligible(rule, driver.columns)} and {'true' if step.kind == 'even' else 'weight > 0'}"
            else:
                continue
            targets = self.eligible_rows(
                rule,
                f"select distinct target from {source} where {condition} and target in (select unnest($teams))",
                {"teams": list(self.policy.support_teams)},
            )
            found |= {(rule.pool, target) for (target,) in targets if target != rule.pool}
        return found

    def refuse_cycle(self, rules: list[Rule], flows: dict[str, set[tuple[str, str]]]) -> None:
        for group in groups(self.policy.support_teams, set().union(*(flows[rule.id] for rule in rules))):
            if len(group) > 1:
                line = next(rule.line for rule in rules if rule.pool in group)
                what = f"{' and '.join(group)} pass cost to each other by their drivers or owners"
                raise Refused(what, self.policy.where(line), "say cycles: reciprocal, or step_down with an order")

    def eligible(self, rule: Rule, columns: frozenset[str]) -> str:
        """The condition on a driver's rows that the rule sets; `columns` are what the driver has."""
        if rule.eligible is None:
            return "true"
        missing = sorted(rule.eligible.columns - columns)
        if missing:
            fix = "use a column of every driver of the rule"
            raise Refused(
                f"rule {rule.id}: eligible names the unknown column {missing[0]}", self.policy.where(rule.line), fix
            )
        return f"({rule.eligible.sql})"

    def eligible_rows(self, rule: Rule, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """What `sql` gives, which has the rule's condition in it; refused when the condition does not fit the columns."""
        try:
            return self.con.execute(sql, values).fetchall()
        except UNFIT:
            if rule.eligible is None:
                raise
            what = f"rule {rule.id}: eligible compares a column with a value of another type"
            raise Refused(what, self.policy.where(rule.line), "compare text with text in quotes") from None

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
        if any(rule.uses_allocated for rule in self.rules if rule.pool in pools):
            self.drivers[ALLOCATED] = self.held_so_far()
        mutual = len(pools) > 1 and pools[0] in self.policy.support_teams
        if mutual:
            self.refuse_caps(pools)
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
        self.limit()
        self.weigh()
        if mutual:
            self.solve(number, pools)
            self.weigh()
        self.split()

    def refuse_caps(self, pools: tuple[str, ...]) -> None:
        """A cap needs the amount of its pot, and between teams that serve each other that depends on the cap."""
        for rule in self.rules:
            cap = next((part.cap for part in rule.parts if part.cap), None)
            if rule.pool in pools and cap:
                what = f"a cap between {' and '.join(pools)}, which pass cost to each other"
                fix = "say cycles: step_down with an order, or remove the cap"
                raise Refused(what, self.policy.where(cap.line), fix)

    def held_so_far(self) -> _Driver:
        """`@allocated`: the first measure that owners hold from earlier stages; owners below zero do not count."""
        by = {c.lower() for rule in self.rules if rule.uses_allocated for step in rule.steps for c in step.by}
        columns = "".join(f", p.{_quoted(column)}" for column in sorted(by) if column != "usage_date")
        self.con.execute(
            f"""
            create or replace temp table alloc_driver_held as
            select p.usage_date{columns}, w.target, {_money("sum(f._m0)")} as weight
            from alloc_final f join alloc_weights w on w.pot = f.pot and w.ord = f.ord join alloc_portions p on p._pid = f._pid
            where w.target <> $unallocated
            group by all
            """,
            {"unallocated": UNALLOCATED},
        )
        return _Driver("alloc_driver_held", frozenset({"usage_date", "target", "weight", *by}), decimals=PLACES, blank_is_any=False)

    # Pots and their weights ---------------------------------------------------------------------------------------

    def resolve(self, stage: int, no: int, rule: Rule) -> None:
        """Find each item of one rule its pot, part by part; a part without any owner leaves its share to the others.

        One part always finds an owner: a rule that can end without one is refused at load.
        """
        con = self.con
        con.execute("create or replace temp table alloc_found(_pid bigint, pot bigint, part int, share int)")
        for number, part in enumerate(rule.parts):
            con.execute("create or replace temp table alloc_open as select _pid from alloc_work where no = ?", [no])
            self.resolve_part(stage, rule, number, part)
        con.execute(
            """
            insert into alloc_split
            select
                _pid, $pool, pot, (sum(share) over pid - share)::int, (sum(share) over pid)::int, (sum(share) over whole)::int,
                case when sum(share) over whole < $all then $note end
            from alloc_found
            window pid as (partition by _pid order by part rows unbounded preceding), whole as (partition by _pid)
            """,
            {"pool": rule.pool, "all": BASIS_POINTS, "note": words.PART_WITHOUT_BASIS},
        )

    def resolve_part(self, stage: int, rule: Rule, number: int, part: Part) -> None:
        """Try the steps of one part in order, each for what is still open."""
        failed: list[str] = []
        for level, step in enumerate(part.chain):
            reason = "; ".join(failed) or None
            if step.kind == "owner":
                self.owner_pots(stage, rule, part, step, level, reason)
                failed.append(words.no_owner(step.name))
            elif step.driver:
                self.driver_pots(stage, rule, part, step, level, reason)
                failed.append(words.no_record(step.name))
            else:
                self.constant_pot(stage, rule, part, step, level, reason)
                failed.append(words.cannot_take(step.name))
            self.con.execute("insert into alloc_found select _pid, pot, ?, ? from alloc_hits", [number, part.share])
            self.con.execute("delete from alloc_open where _pid in (select _pid from alloc_hits)")
            if not self.con.execute("select count(*) from alloc_open").fetchall()[0][0]:
                return

    def closed(self, rule: Rule) -> list[str]:
        return sorted(self.policy.closed(rule.pool))

    def new_pot(self, rule: Rule, stage: int, part: str, driver: str | None, level: int, reason: str | None) -> int:
        self.pots += 1
        self.con.execute(
            "insert into alloc_pots values (?, ?, ?, ?, ?, ?, ?, ?, ?, null)",
            [self.pots, rule.id, rule.pool, rule.method, part, stage, driver, level, reason],
        )
        return self.pots

    @property
    def no_dims(self) -> tuple[None, ...]:
        return (None,) * len(self.dims)

    def add_weights(self, rows: list[_Weight]) -> None:
        columns: dict[str, list[Any]] = {
            "pot": [row.pot for row in rows],
            "target": [row.target for row in rows],
            **{f"dim_{i}": [row.dims[i] for row in rows] for i in range(len(self.dims))},
            "quantity": [None if row.quantity is None else f"{row.quantity:f}" for row in rows],
            "w": [str(row.w) if row.w < SAFE else None for row in rows],
            "big": [None if row.w < SAFE else str(row.w) for row in rows],
            "exact": [row.exact for row in rows],
            "note": [row.note for row in rows],
        }
        types = {"pot": pa.int64(), "exact": pa.bool_()}
        table = pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()})
        self.con.register("alloc_given", table)
        self.con.execute("insert into alloc_loose from alloc_given")
        self.con.unregister("alloc_given")

    def constant_pot(self, stage: int, rule: Rule, part: Part, step: Step, level: int, reason: str | None) -> None:
        """One pot of fixed owners; with a cap, which looks at amounts, one for each key."""
        closed = self.closed(rule)
        if step.kind == "to":
            weights = [(step.name, Decimal(1))] if step.name not in closed else []
            if step.name == UNALLOCATED and reason is None:
                reason = words.left_unallocated(rule.id)
        else:
            weights = [(target, weight) for target, weight in step.weights if weight > 0 and target not in closed]
            if rule.eligible:
                weights = self.eligible_weights(rule, weights)
        capped = step.shares and part.cap is not None
        by, dated = (step.by, step.window == "day") if capped else ((), False)
        keys = self.make_keys(by, dated)
        self.con.execute("create or replace temp table alloc_hits(_pid bigint, pot bigint)")
        if not weights:
            return
        whole = kernel.integers([Fraction(weight) for _, weight in weights])
        shown = [weight if step.shares and _fits(weight) else None for _, weight in weights]
        self.add_weights(
            [
                _Weight(pot, target, self.no_dims, quantity, w, quantity is not None)
                for (pot,) in self.con.execute("select pot from alloc_keys").fetchall()
                for (target, _), quantity, w in zip(weights, shown, whole, strict=True)
            ]
        )
        self.hit(by, dated)
        self.record_pots(rule, stage, part, step, keys, level, reason)

    def eligible_weights(self, rule: Rule, weights: list[tuple[str, Decimal]]) -> list[tuple[str, Decimal]]:
        rows = self.eligible_rows(
            rule,
            f"select target from (select unnest($targets) as target) where {self.eligible(rule, frozenset({'target'}))}",
            {"targets": [target for target, _ in weights]},
        )
        kept = {target for (target,) in rows}
        return [(target, weight) for target, weight in weights if target in kept]

    def owner_pots(self, stage: int, rule: Rule, part: Part, step: Step, level: int, reason: str | None) -> None:
        """One pot for each owner that the column names and the rule's condition lets pay."""
        owner = f"nullif(trim(p.{_quoted(step.name)}::varchar), '')"
        self.eligible_rows(
            rule,
            f"""
            create or replace temp table alloc_keys as
            select row_number() over (order by target) + {self.pots} as pot, target
            from (select distinct {owner} as target from alloc_open o join alloc_portions p on p._pid = o._pid)
            where target is not null and target not in (select unnest($closed::varchar[])) and {self.eligible(rule, frozenset({"target"}))}
            """,
            {"closed": self.closed(rule)},
        )
        self.con.execute("insert into alloc_loose(pot, target, w, exact) select pot, target, 1, false from alloc_keys")
        self.con.execute(
            f"""
            create or replace temp table alloc_hits as
            select o._pid, k.pot
            from alloc_open o join alloc_portions p on p._pid = o._pid join alloc_keys k on k.target = {owner}
            """
        )
        self.record_pots(rule, stage, part, step, [], level, reason)

    def record_pots(
        self, rule: Rule, stage: int, part: Part, step: Step, keys: list[str], level: int, reason: str | None
    ) -> None:
        """The pots that alloc_hits names, and the numbers of alloc_keys as used; limits for those of a step that shares."""
        self.con.execute(
            "insert into alloc_pots select distinct pot, ?, ?, ?, ?, ?::int, ?, ?::int, ?, ? from alloc_hits",
            [rule.id, rule.pool, rule.method, part.label, stage, step.driver, level, reason, ",".join(step.by) or None],
        )
        first = self.pots + 1
        self.pots = max(self.pots, self.con.execute("select coalesce(max(pot), 0) from alloc_keys").fetchall()[0][0])
        if step.shares and (part.cap or part.cutoff):
            self.limited.append((part, first, self.pots))
        if step.shares and part.cap:
            self.driver_rows(rule, step, self.drivers[part.cap.of], keys, "true", [])
            matched = self.matched(keys, self.drivers[part.cap.of])
            self.con.execute(
                f"insert into alloc_limits select pot, target, sum(weight)::varchar from ({matched}) group by pot, target"
            )

    def make_keys(self, by: Sequence[str], dated: bool) -> list[str]:
        """alloc_keys: the pots that what is open falls into, numbered; returns the names of their key columns."""
        wanted = [f"nullif(p.{_quoted(column)}::varchar, '') as k{i}" for i, column in enumerate(by)]
        wanted += ["p.usage_date as k_day"] * dated
        self.con.execute(
            f"""
            create or replace temp table alloc_keys as
            select row_number() over () + {self.pots} as pot, *
            from (select distinct {", ".join([*wanted, "1 as one"])} from alloc_open o join alloc_portions p on p._pid = o._pid)
            """
        )
        return [f"k{i}" for i in range(len(by))] + ["k_day"] * dated

    def hit(self, by: Sequence[str], dated: bool) -> None:
        """alloc_hits: what is open and falls into a pot of alloc_keys that has weights."""
        fits = [f"k.k{i} is not distinct from nullif(p.{_quoted(c)}::varchar, '')" for i, c in enumerate(by)]
        fits += ["k.k_day = p.usage_date"] * dated
        self.con.execute(
            f"""
            create or replace temp table alloc_hits as
            select o._pid, k.pot
            from alloc_open o join alloc_portions p on p._pid = o._pid join alloc_keys k on {" and ".join(fits) or "true"}
            where k.pot in (select pot from alloc_loose)
            """
        )

    def driver_pots(self, stage: int, rule: Rule, part: Part, step: Step, level: int, reason: str | None) -> None:
        """Pots by the step's keys; weights are the driver's rows that fit the key, where a blank key fits any."""
        driver = self.drivers[step.driver or ""]
        dated = step.window == "day" and ("usage_date" in driver.columns or part.cap is not None)
        keys = self.make_keys(step.by, dated)
        own = [d for d in self.dims if d.strip('"').lower() in driver.columns and step.kind != "even"]
        self.driver_rows(rule, step, driver, keys, self.eligible(rule, driver.columns), own)
        if step.kind == "even":
            self.con.execute(
                f"""
                insert into alloc_loose(pot, target, quantity, w, exact)
                select distinct pot, target, 1, 1::hugeint, true from ({self.matched(keys, driver)})
                """
            )
        else:
            self.keep_weights(keys, own, driver)
        self.hit(step.by, dated)
        self.record_pots(rule, stage, part, step, keys, level, reason)

    def driver_rows(
        self, rule: Rule, step: Step, driver: _Driver, keys: list[str], condition: str, dims: list[str]
    ) -> None:
        """alloc_rows: the driver's rows that may count for this step, summed per key, target and dims."""
        columns = [
            f"nullif({_quoted(c)}::varchar, '') as k{i}" if c.lower() in driver.columns else f"null::varchar as k{i}"
            for i, c in enumerate(step.by if keys else ())
        ]
        has_day, dated = "usage_date" in driver.columns, "k_day" in keys
        columns += [f"{'usage_date' if has_day else 'null::date'} as k_day"] * dated
        columns += ["target", *(f"{d}::varchar as {d}" for d in dims), "sum(weight) as weight"]
        start, end = max(self.period[0], rule.start), min(self.period[1], rule.end)
        days = "(usage_date is null or usage_date >= $start and usage_date < $end)"
        timed = has_day and not dated
        self.eligible_rows(
            rule,
            f"""
            create or replace temp table alloc_rows as
            select {", ".join(columns)}
            from {driver.table}
            where {condition} and target not in (select unnest($closed::varchar[])) and {days if timed else "true"}
            group by all
            """,
            {"closed": self.closed(rule), **({"start": start, "end": end} if timed else {})},
        )

    def matched(self, keys: list[str], driver: _Driver) -> str:
        """A SELECT of alloc_rows with the pots they hold for. One hash join for each set of filled keys."""
        if not driver.blank_is_any:
            on = " and ".join(f"k.{key} is not distinct from r.{key}" for key in keys) or "true"
            return f"select k.pot, r.* from alloc_rows r join alloc_keys k on {on}"
        filled = ", ".join(f"{key} is not null" for key in keys)
        masks = self.con.execute(f"select distinct {filled} from alloc_rows").fetchall() if keys else [()]
        joins = []
        for mask in masks:
            there = [key for key, is_there in zip(keys, mask, strict=True) if is_there]
            on = " and ".join(f"k.{key} = r.{key}" for key in there) or "true"
            where = " and ".join(f"r.{key} is {'not ' * (key in there)}null" for key in keys) or "true"
            joins.append(f"select k.pot, r.* from alloc_rows r join alloc_keys k on {on} where {where}")
        return " union all ".join(joins) or "select 0::bigint as pot, * from alloc_rows"

    def keep_weights(self, keys: list[str], dims: list[str], driver: _Driver) -> None:
        """Weights of alloc_rows into alloc_loose, as whole numbers; zeros are left out."""
        names = "".join(f", {d}" for d in dims)
        raw = f"select pot, target{names}, sum(weight) as weight from ({self.matched(keys, driver)}) group by all having sum(weight) > 0"
        if not driver.big:
            cut_off = "0" * max(0, driver.decimals - PLACES)  # decimals that a quantity cannot show
            shown = f"weight::varchar like '%{cut_off}'" if cut_off else "true"
            self.con.execute(
                f"""
                insert into alloc_loose(pot, target{names}, quantity, w, exact)
                select pot, target{names}, try_cast(weight as decimal(38, 12)), {_units("weight", driver.decimals)}, {shown}
                from ({raw})
                """
            )
            return
        pots: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for pot, *row in self.con.execute(f"select pot, target{names}, weight::varchar from ({raw})").fetchall():
            pots[pot].append(tuple(row))
        at = {d: i + 1 for i, d in enumerate(dims)}
        rows = []
        for pot, members in pots.items():
            weights = [int(row[-1]) for row in members]
            whole = kernel.integers(weights)
            shown = next((w for w in (weights, whole) if sum(w) < SHOWN), [None] * len(whole))
            for row, quantity, w in zip(members, shown, whole, strict=True):
                own = tuple(row[at[d]] if d in at else None for d in self.dims)
                rows.append(_Weight(pot, row[0], own, None if quantity is None else Decimal(quantity), w, quantity is not None))
        self.add_weights(rows)

    # Caps and cutoffs ---------------------------------------------------------------------------------------------

    def limit(self) -> None:
        """New weights for the pots that a cap or a cutoff changes; the others keep what they have."""
        changed: list[_Weight] = []
        for part, first, last in self.limited:
            amounts = self.pot_amounts(first, last) if part.cap else {}
            limits = self.pot_limits(first, last) if part.cap else {}
            for pot, members in self.members(first, last).items():
                changed += _limited(part, members, amounts.get(pot, 0), limits.get(pot, {}))
        self.limited = []
        self.con.execute("delete from alloc_loose where pot in (select unnest($pots::bigint[]))", {"pots": [c.pot for c in changed]})
        self.add_weights(changed)

    def members(self, first: int, last: int) -> dict[int, list[_Weight]]:
        dims = "".join(f"{d}, " for d in self.dims)
        found: dict[int, list[_Weight]] = defaultdict(list)
        for pot, target, *own, quantity, w, exact in self.con.execute(
            f"select pot, target, {dims}quantity, coalesce(big, w::varchar), exact from alloc_loose where pot between ? and ?", [first, last]
        ).fetchall():
            found[pot].append(_Weight(pot, target, tuple(own), quantity, int(w), exact))
        return found

    def pot_amounts(self, first: int, last: int) -> dict[int, int]:
        """What each pot splits of the first measure, in pico-units. Summed in two halves, so that no sum is too large."""
        rows = self.con.execute(
            f"""
            select pot, sum(amount // {PICO}), sum(amount % {PICO})
            from (
                select s.pot, {_cut("i._m0")} as amount
                from alloc_split s join alloc_items i on i._pid = s._pid and i.pool = s.pool
                where s.pot between ? and ?
            )
            group by pot
            """,
            [first, last],
        ).fetchall()
        return {pot: int(high) * PICO + int(low) for pot, high, low in rows}

    def pot_limits(self, first: int, last: int) -> dict[int, dict[str, Fraction]]:
        found: dict[int, dict[str, Fraction]] = defaultdict(dict)
        for pot, target, most in self.con.execute(
            "select pot, target, most from alloc_limits where pot between ? and ?", [first, last]
        ).fetchall():
            found[pot][target] = max(Fraction(most), Fraction(0))
        return found

    # Mutual services ----------------------------------------------------------------------------------------------

    def solve(self, stage: int, teams: tuple[str, ...]) -> None:
        """Support teams that serve each other: what each item ends up as, solved exactly once per set of pots.

        What they send each other on the way is recorded as steps, gross: cost that comes back passes through again.
        """
        con = self.con
        con.execute(
            """
            create or replace temp table alloc_alike as
            select _pid, list({'pool': pool, 'pot': pot, 'share': high - low, 'whole': whole} order by pool, low) as flows
            from alloc_split group by _pid
            """
        )
        chosen = ", ".join(["target", *self.dims])
        rows = con.execute(
            f"select pot, ord, coalesce(big, w::varchar), {chosen} from alloc_weights where pot in (select pot from alloc_split)"
        ).fetchall()
        weights: dict[int, list[tuple[tuple[Any, ...], int, int]]] = defaultdict(list)
        for pot, ord_, w, *key in rows:
            weights[pot].append((tuple(key), int(w), ord_))
        levels = {
            row[0]: row[1:]
            for row in con.execute(
                """
                select pot, fallback_level, coalesce(any_value(reason), max(note)), any_value(rule_id)
                from alloc_pots join alloc_weights using (pot)
                where stage = ? group by pot, fallback_level
                """,
                [stage],
            ).fetchall()
        }
        con.execute(
            "create or replace temp table alloc_solved(flows struct(pool varchar, pot bigint, share int, whole int)[], pool varchar, pot bigint)"
        )
        rules = {rule.id: rule for rule in self.rules}
        passages: dict[int, _Passages] = {}
        for (flows,) in con.execute("select distinct flows from alloc_alike").fetchall():
            sent: dict[str, dict[Any, Fraction]] = {team: defaultdict(Fraction) for team in teams}
            between: list[_Passage] = []
            for flow in flows:
                total = sum(w for _, w, _ in weights[flow["pot"]])
                for key, w, ord_ in weights[flow["pot"]]:
                    to = key[0] if key[0] in sent else key
                    share = Fraction(flow["share"], flow["whole"]) * Fraction(w, total)
                    sent[flow["pool"]][to] += share
                    if to in sent:
                        note = words.PART_WITHOUT_BASIS if flow["whole"] < BASIS_POINTS else None
                        between.append(_Passage(flow["pool"], key[0], share, flow["pot"], ord_, note))
            stuck = kernel.without_exit(sent)
            for team in stuck:
                sent[team] = {(UNALLOCATED, *self.no_dims): Fraction(1)}
            ends = kernel.reciprocal(sent)
            here = _Passages.of(sent, [one for one in between if one.source not in stuck])
            for team in teams:
                own = [levels[flow["pot"]] for flow in flows if flow["pool"] == team]
                reason = words.ONLY_EACH_OTHER if team in stuck else max((r for _, r, _ in own if r), default=None)
                pot = self.new_pot(rules[own[0][2]], stage, "", words.RECIPROCAL, max(level for level, _, _ in own), reason)
                self.add_shares(pot, ends[team])
                passages[pot] = here
                con.execute("insert into alloc_solved values (?, ?, ?)", [flows, team, pot])
        con.execute(
            """
            create or replace temp table alloc_split as
            select i._pid, i.pool, s.pot, 0 as low, 1 as high, 1 as whole, null::varchar as note
            from alloc_items i join alloc_alike a on a._pid = i._pid join alloc_solved s on s.flows = a.flows and s.pool = i.pool
            """
        )
        self.record_passages(passages)

    def record_passages(self, passages: dict[int, _Passages]) -> None:
        """Steps between teams that serve each other, for every item in every measure; `passages` by the pots they end in."""
        con, m = self.con, self.amounts
        held: dict[int, dict[str, list[int]]] = defaultdict(dict)
        of: dict[int, _Passages] = {}
        for pid, pool, pot, *amounts in con.execute(
            f"select i._pid, i.pool, s.pot, {', '.join(f'i.{a}::varchar' for a in m)}"
            " from alloc_items i join alloc_split s on s._pid = i._pid and s.pool = i.pool order by i._pid, i.pool"
        ).fetchall():
            held[pid][pool] = [int(amount) for amount in amounts]
            of[pid] = passages[pot]
        columns: dict[str, list[Any]] = {name: [] for name in ("_pid", "pot", "ord", "note", *m)}
        for pid, arrived in held.items():
            sent = [of[pid].sent({team: amounts[i] for team, amounts in arrived.items()}) for i in range(len(m))]
            for number, passage in enumerate(of[pid].between):
                if of[pid].reached(number, arrived):
                    row = (pid, passage.pot, passage.ord, passage.note, *(str(amounts[number]) for amounts in sent))
                    for column, value in zip(columns.values(), row, strict=True):
                        column.append(value)
        types = {"_pid": pa.int64(), "pot": pa.int64(), "ord": pa.int64()}
        con.register("alloc_between", pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()}))
        sums = ", ".join(f"{a}::hugeint" for a in m)
        con.execute(f"insert into alloc_steps select _pid, pot, ord, note, {sums} from alloc_between")
        con.unregister("alloc_between")

    def add_shares(self, pot: int, shares: dict[Any, Fraction]) -> None:
        """Exact shares as weights; shown as decimals of one."""
        keys = list(shares)
        whole = kernel.integers([shares[key] for key in keys])
        shown = [Decimal(part).scaleb(-PLACES) for part in kernel.split(PICO, whole, [str(key) for key in keys])]
        exact = all(Fraction(quantity) == shares[key] for key, quantity in zip(keys, shown, strict=True))
        self.add_weights(
            [_Weight(pot, key[0], key[1:], q, w, exact) for key, q, w in zip(keys, shown, whole, strict=True)]
        )

    # Splitting ----------------------------------------------------------------------------------------------------

    def weigh(self) -> None:
        """Order and total of the weights just found; a pot whose total leaves HUGEINT has it as text."""
        con = self.con
        order = ", ".join(["target", *(f"{d} nulls first" for d in self.dims)])
        con.execute(
            f"""
            create or replace temp table alloc_new as
            select pot, row_number() over (partition by pot order by {order}) as ord, * exclude (pot) from alloc_loose
            """
        )
        con.execute("truncate alloc_loose")
        con.execute("insert into alloc_weights from alloc_new")
        con.execute(
            f"""
            insert into alloc_totals
            with sizes as (
                select pot, sum(coalesce(w::double, 1e300)) < {SAFE} as safe,
                    count(quantity) = count(*) and sum(quantity::double) < {SHOWN} as shown
                from alloc_new group by pot
            )
            select
                n.pot, count(*), sum(case when s.safe then n.w end)::hugeint, list(case when s.safe then n.w end order by n.ord),
                sum(case when s.shown then n.quantity end)::decimal(38, 12), bool_and(n.exact and s.shown), null
            from alloc_new n join sizes s on s.pot = n.pot
            group by n.pot
            """
        )
        unsafe: dict[int, int] = defaultdict(int)
        for pot, w in con.execute(
            "select pot, coalesce(big, w::varchar) from alloc_new where pot in (select pot from alloc_totals where total is null)"
        ).fetchall():
            unsafe[pot] += int(w)
        for pot, total in unsafe.items():
            con.execute("update alloc_totals set shown = ? where pot = ?", [str(total), pot])
        con.execute(
            f"update alloc_totals set shown = case when exact then {_plain('driver_total')} else coalesce(shown, total::varchar) end"
            " where pot in (select pot from alloc_new)"
        )
        con.execute(
            "create or replace temp table alloc_passing as select pot, ord, target from alloc_new where target in (select unnest($teams::varchar[]))",
            {"teams": list(self.policy.support_teams)},
        )

    def split(self) -> None:
        """Every item over the weights of its pots; what reaches a support team lands there, the rest is final."""
        con, m = self.con, self.amounts
        largest = f"greatest({', '.join(f'abs(i.{a}::double)' for a in m)}, t.members)"
        alike = ", ".join(f"list_position([{', '.join(m[: i + 1])}], {a}) - 1 as alike{a}" for i, a in enumerate(m))
        con.execute(
            f"""
            create or replace temp table alloc_cuts as
            select *, sum(members) over (order by n rows unbounded preceding) // {max(FULL, CHUNK // len(m))} as chunk, {alike}
            from (
                select
                    row_number() over (order by t.members > 1, i._pid) as n, i._pid, s.pot, s.note, t.members,
                    t.total is null or {largest} >= {NEAR} or {largest} * t.total::double >= {SAFE} as big,
                    {", ".join(f"{_cut(f'i.{a}')} as {a}" for a in m)}
                from alloc_items i
                join alloc_split s on s._pid = i._pid and s.pool = i.pool
                join alloc_totals t on t.pot = s.pot
            )
            """
        )
        con.execute(
            f"create or replace temp table alloc_out as select _pid, pot, 1 as ord, note, {', '.join(m)} from alloc_cuts where members = 1"
        )
        self.settle()
        for first, last, big in con.execute(
            "select min(n), max(n), big from alloc_cuts where members > 1 group by chunk, big order by 1"
        ).fetchall():
            (self.split_big if big else self.split_chunk)(first, last)
            self.settle()

    def split_chunk(self, first: int, last: int) -> None:
        """Largest remainder in one statement. A key puts the remainders of a cut in order (equal ones by `ord`): the n-th largest
        key is the last that gets one of the n units left over. An amount that an earlier measure has too is split once.

        HUGEINT divides a hundred times slower than it multiplies, so a quotient is estimated in DOUBLE and corrected by its exact
        remainder. With e = 2^-53, a cast from HUGEINT errs by 2e of the value at most and a DOUBLE operation by e. The first guess
        (three casts, two operations) is off by less than 9e * amount + 0.5 < 1.0e14 units for amounts below NEAR; the second adds
        the quotient of what is left (two casts, one operation): off by less than 6e * 1.0e14 + 0.5 < 0.6. So its remainder lies
        between -0.6 and 0.6 times the total, and where it is negative the guess is one too high. Products stay below 1.1 * SAFE
        plus half a total: inside HUGEINT.
        """
        m = self.amounts
        sizes = ", ".join(f"abs(c.{a}) as size{a}" for a in m)
        guesses = ", ".join(f"case when alike{a} = {i} then (size{a}::double * share)::hugeint end as g{a}" for i, a in enumerate(m))
        nearer = ", ".join(f"g{a} + ((size{a} * w - g{a} * total)::double / total::double)::hugeint as g{a}" for a in m)
        signed = ", ".join(f"size{a} * w - g{a} * total as r{a}" for a in m)
        floors = ", ".join(f"g{a} - (r{a} < 0)::int as q{a}" for a in m)
        keys = ", ".join(f"(r{a} + (r{a} < 0)::int * total) * members + members - ord as k{a}" for a in m)
        sums = ", ".join(f"sum(q{a}) as sum{a}, list(k{a}) as keys{a}" for a in m)
        left = {a: f"(abs(c.{a}) - sum{a})::bigint" for a in m}
        lasts = ", ".join(f"case when {left[a]} > 0 then list_reverse_sort(keys{a})[{left[a]}] end as last{a}" for a in m)
        part = {a: f"(sign(c.{a}) * (q{a} + coalesce(k{a} >= last{a}, false)::int))::hugeint" for a in m}
        parts = ", ".join(
            f"case c.alike{a} {' '.join(f'when {i} then {part[b]}' for i, b in enumerate(m[: n + 1]))} end as {a}" for n, a in enumerate(m)
        )
        self.con.execute(
            f"""
            create or replace temp table alloc_out as
            with cuts as (
                select c.*, t.total, {sizes}, unnest(range(1, c.members + 1)) as ord, unnest(t.weights) as w
                from alloc_cuts c join alloc_totals t on t.pot = c.pot
                where c.n between $first and $last and not c.big
            ),
            guesses as (select *, {guesses} from (select *, w::double / total::double as share from cuts)),
            nearer as (select * replace ({nearer}) from guesses),
            signed as (select *, {signed} from nearer),
            rows as materialized (select n, ord, {floors}, {keys} from signed),
            sums as (select n, {sums} from rows group by n),
            lasts as (select c.*, {lasts} from sums join alloc_cuts c on c.n = sums.n)
            select c._pid, c.pot, rows.ord, c.note, {parts} from rows join lasts c on c.n = rows.n
            """,
            {"first": first, "last": last},
        )

    def split_big(self, first: int, last: int) -> None:
        """Cuts whose products leave HUGEINT, by the kernel in Python; the same result."""
        con, m = self.con, self.amounts
        weights: dict[int, list[int]] = defaultdict(list)
        chosen = "where n between ? and ? and big"
        for pot, w in con.execute(
            f"select pot, coalesce(big, w::varchar) from alloc_weights where pot in (select pot from alloc_cuts {chosen}) order by pot, ord",
            [first, last],
        ).fetchall():
            weights[pot].append(int(w))
        columns: dict[str, list[Any]] = {name: [] for name in ("_pid", "pot", "ord", "note", *m)}
        for pid, pot, note, *amounts in con.execute(
            f"select _pid, pot, note, {', '.join(f'{a}::varchar' for a in m)} from alloc_cuts {chosen}", [first, last]
        ).fetchall():
            ords = range(1, len(weights[pot]) + 1)
            for name, amount in zip(m, amounts, strict=True):
                columns[name] += map(str, kernel.split(int(amount), weights[pot], ords))
            for name, value in (("_pid", pid), ("pot", pot), ("note", note)):
                columns[name] += [value] * len(ords)
            columns["ord"] += ords
        types = {"_pid": pa.int64(), "pot": pa.int64(), "ord": pa.int64()}
        table = pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()})
        con.register("alloc_big", table)
        sums = ", ".join(f"{a}::hugeint as {a}" for a in m)
        con.execute(f"create or replace temp table alloc_out as select _pid, pot, ord, note, {sums} from alloc_big")
        con.unregister("alloc_big")

    def settle(self) -> None:
        """alloc_out to the final owners, or to the support teams that pass it on."""
        con = self.con
        con.execute("insert into alloc_final from alloc_out anti join alloc_passing using (pot, ord)")
        con.execute("insert into alloc_steps from alloc_out semi join alloc_passing using (pot, ord)")
        con.execute(
            f"insert into alloc_landed select o._pid, t.target, {', '.join(f'o.{m}' for m in self.amounts)}"
            " from alloc_out o join alloc_passing t using (pot, ord)"
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
        """The two views that others read. `weight` and `weight_total` are text and exact: the driver's own numbers where
        these decided, else whole numbers in the proportions that did.
        """
        dims = "".join(f", w.{d}" for d in self.dims)
        money = ", ".join(
            f"{_money(f'f.{a}')} as {_quoted(m)}" for a, m in zip(self.amounts, self.measures, strict=True)
        )
        why = "nullif(concat_ws('; ', t.reason, w.note, f.note), '')"
        for view, table in (("allocations", "alloc_final"), ("allocation_steps", "alloc_steps")):
            self.con.execute(
                f"""
                create or replace temp view {view} as
                select
                    p.charge_id, p.portion, t.part, t.stage, t.cost_pool, t.rule_id, t.method, t.driver, w.target{dims},
                    w.quantity as driver_quantity, s.driver_total, t.fallback_level, t.split_by,
                    case when w.target = '{UNALLOCATED}' then coalesce({why}, '{words.UNKNOWN_USER}') else {why} end as reason,
                    case when s.exact then {_plain("w.quantity")} else coalesce(w.big, w.w::varchar) end as weight,
                    s.shown as weight_total,
                    {money}
                from {table} f
                join alloc_weights w on w.pot = f.pot and w.ord = f.ord
                join alloc_pots t on t.pot = f.pot
                join alloc_totals s on s.pot = f.pot
                join alloc_portions p on p._pid = f._pid
                """
            )
        for driver in self.drivers.values():
            self.con.execute(f"drop table if exists {driver.table}")
