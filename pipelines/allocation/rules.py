"""The allocation policy: data/policy/allocation.yaml read, checked as a whole, and turned into rules the engine runs.

Everything wrong with a file is refused at once, each reason with `allocation.yaml:LINE` and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlglot
from pydantic import BeforeValidator, Field
from sqlglot import exp

from pipelines.allocation import words
from pipelines.allocation.words import ALLOCATED, UNALLOCATED
from pipelines.errors import Refused
from pipelines.yaml_file import Dated, Exact, Name, PolicyRefused, Strict, line_of, read

FOREVER = (date.min, date.max)
BASIS_POINTS = 10000
LONGEST = 20_000  # characters of a condition or a SELECT


# What the engine runs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predicate:
    """A condition over columns: SQL written anew from what was parsed, and the column names in it (lower case)."""

    sql: str
    columns: frozenset[str]


@dataclass(frozen=True)
class Pool:
    name: str
    predicate: Predicate
    line: int


@dataclass(frozen=True)
class Step:
    """One way to find owners. `name` is the driver, the target of `to`, or the owner column; weights are of `fixed`."""

    kind: Literal["owner", "driver", "even", "fixed", "to"]
    name: str
    by: tuple[str, ...]
    window: Literal["period", "day"]
    weights: tuple[tuple[str, Decimal], ...]
    line: int

    @property
    def driver(self) -> str | None:
        return self.name if self.kind in ("driver", "even") else None

    @property
    def shares(self) -> bool:
        """Whether it divides a pot, and so can be capped and cut off; the others name who pays."""
        return self.kind in ("driver", "even", "fixed")


@dataclass(frozen=True)
class Cap:
    """Nobody takes more of a pot than `times` what the driver `of` says for them; what is over goes to `excess`."""

    times: Decimal
    of: str
    excess: str
    line: int


@dataclass(frozen=True)
class Cutoff:
    """Whoever has a share below `below` basis points of a pot is put together with the others of that kind, on `to`."""

    below: int
    to: str
    line: int


@dataclass(frozen=True)
class Part:
    """A share of the amount, in basis points, and the steps tried for it in order. A plain rule has one part, ''."""

    label: str
    share: int
    chain: tuple[Step, ...]
    cap: Cap | None = None
    cutoff: Cutoff | None = None

    @property
    def needs(self) -> Iterator[tuple[str, int]]:
        """The drivers it reads, each with the line that names it."""
        yield from ((step.driver, step.line) for step in self.chain if step.driver)
        if self.cap:
            yield self.cap.of, self.cap.line

    @property
    def receivers(self) -> Iterator[tuple[str, int]]:
        """The owners it names itself, each with the line that names them."""
        yield from ((target, step.line) for step in self.chain for target in named_targets(step))
        yield from self.limited

    @property
    def limited(self) -> Iterator[tuple[str, int]]:
        """The owners of what its cap and its cutoff take from others, each with the line that names them."""
        if self.cap:
            yield self.cap.excess, self.cap.line
        if self.cutoff:
            yield self.cutoff.to, self.cutoff.line


@dataclass(frozen=True)
class Rule:
    """One version of how a pool finds owners, in force for charges used from `start` to before `end`."""

    id: str
    pool: str
    method: str
    parts: tuple[Part, ...]
    eligible: Predicate | None
    start: date
    end: date
    line: int

    @property
    def steps(self) -> Iterator[Step]:
        return (step for part in self.parts for step in part.chain)

    @property
    def uses_allocated(self) -> bool:
        return any(name == ALLOCATED for part in self.parts for name, _ in part.needs)

    def overlaps(self, start: date, end: date) -> bool:
        return self.start < end and start < self.end


@dataclass(frozen=True)
class AllocationPolicy:
    file: str
    support_teams: tuple[str, ...]
    cycles: Literal["error", "step_down", "reciprocal"]
    order: tuple[str, ...]
    pools: tuple[Pool, ...]
    rules: tuple[Rule, ...]
    drivers: dict[str, str]

    def where(self, line: int) -> str:
        return f"{self.file}:{line}"

    def flows(self, rules: Iterable[Rule]) -> set[tuple[str, str]]:
        """(from, to) between different support teams, as far as the rules themselves name the receiver."""
        return {
            (rule.pool, target)
            for rule in rules
            if rule.pool in self.support_teams
            for part in rule.parts
            for target, _ in part.receivers
            if target in self.support_teams and target != rule.pool
        }

    def closed(self, team: str) -> frozenset[str]:
        """Teams that the pool `team` cannot send to: itself, and in a step-down those that have passed on before it."""
        if team not in self.support_teams:
            return frozenset()
        before = self.order[: self.order.index(team)] if self.cycles == "step_down" and team in self.order else ()
        return frozenset({team, *before})


def named_targets(step: Step) -> tuple[str, ...]:
    if step.kind == "to":
        return (step.name,)
    return tuple(target for target, weight in step.weights if weight > 0)


def groups(teams: Iterable[str], flows: set[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Teams in the order in which they pass cost on; teams that serve each other are one group."""
    teams = list(teams)
    reach = {team: {b for a, b in flows if a == team} for team in teams}
    for via in teams:
        for team in teams:
            if via in reach[team]:
                reach[team] |= reach[via]
    together = {team: tuple(t for t in teams if t == team or (t in reach[team] and team in reach[t])) for team in teams}
    left, ordered = list(dict.fromkeys(together.values())), []
    while left:
        first = next(g for g in left if not any(set(g) & reach[other[0]] for other in left if other != g))
        ordered.append(first)
        left.remove(first)
    return ordered


# The file ------------------------------------------------------------------------------------------------------------


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]], BeforeValidator(_as_list)]
Weights = Annotated[dict[Name, Annotated[Exact, Field(ge=0)]], Field(min_length=1)]
Window = Literal["period", "day"]


class _Step(Strict):
    driver: Name | None = None
    even: Name | None = None
    to: Name | None = None
    weights: Weights | None = None
    owner_column: Name | None = None
    by: Columns | None = None
    window: Window | None = None


class _Cap(Strict):
    times: Annotated[Exact, Field(gt=0)]
    of: Name
    excess: Name


class _Cutoff(Strict):
    below: int = Field(gt=0, le=BASIS_POINTS)
    to: Name


class _Limited(_Step):
    cap: _Cap | None = None
    cutoff: _Cutoff | None = None


class _Part(_Limited):
    share: int = Field(gt=0, le=BASIS_POINTS)


class _Rule(_Limited):
    id: Name
    pool: Name
    method: Literal["direct", "proportional", "even", "fixed", "composite", "to"]
    parts: list[_Part] | None = Field(None, min_length=1)
    eligible: Name | None = None
    fallback: list[_Step] = []
    effective: Dated = Dated()


class _File(Strict):
    version: Literal[1]
    support_teams: list[Name] = []
    cycles: Literal["error", "step_down", "reciprocal"] = "error"
    order: list[Name] = []
    drivers: dict[Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")], Name] = {}
    pools: dict[Name, Annotated[str, BeforeValidator(lambda v: "true" if v is True else v)]] = Field(min_length=1)
    rules: list[_Rule] = Field(min_length=1)


_NEEDS = {
    "direct": "owner_column",
    "proportional": "driver",
    "even": "driver",
    "fixed": "weights",
    "to": "to",
    "composite": "parts",
}
_KINDS = {"driver": "driver", "even": "even", "to": "to", "weights": "fixed", "owner_column": "owner"}


def load(
    path: Path, *, drivers: Collection[str] | None = None, teams: Collection[str] | None = None
) -> AllocationPolicy:
    """The policy in `path`; raises `PolicyRefused` with every reason.

    `drivers` are the driver names known beside those the file declares, `teams` the possible owners; None = not checked
    here (the engine refuses an unknown driver when a rule needs it).
    """
    tree, file = read(path, _File)
    return _Compiler(path.name, tree, file, drivers, teams).policy()


class _Compiler:
    """From the file to the policy, collecting every reason to refuse it."""

    def __init__(
        self, name: str, tree: Any, file: _File, drivers: Collection[str] | None, teams: Collection[str] | None
    ) -> None:
        self.name, self.tree, self.file = name, tree, file
        self.known_drivers, self.known_teams = drivers, teams
        self.reasons: list[Refused] = []

    def refuse(self, loc: tuple[Any, ...], what: str, fix: str) -> None:
        self.reasons.append(Refused(what, f"{self.name}:{line_of(self.tree, loc)}", fix))

    def policy(self) -> AllocationPolicy:
        file = self.file
        pools = tuple(
            Pool(name, self.predicate(("pools", name), text), line_of(self.tree, ("pools", name)))
            for name, text in file.pools.items()
        )
        rules = tuple(self.rule(number, rule) for number, rule in enumerate(file.rules))
        drivers = {name: self.driver_sql(name, text) for name, text in file.drivers.items()}
        policy = AllocationPolicy(
            self.name, tuple(file.support_teams), file.cycles, tuple(file.order), pools, rules, drivers
        )
        self.check_pools(policy)
        self.check_support(policy)
        self.check_rules(policy)
        if not self.reasons:
            self.check_chains(policy)
            self.check_cycles(policy)
        if self.reasons:
            raise PolicyRefused(sorted(self.reasons, key=lambda reason: int(reason.where.rpartition(":")[2])))
        return policy

    def predicate(self, loc: tuple[Any, ...], text: str) -> Predicate:
        try:
            return predicate(text)
        except ValueError as error:
            self.refuse(
                loc,
                f"{loc[-1]}: {error}",
                "use columns, literals, and, or, not, comparisons, in, between, like, is null",
            )
            return Predicate("true", frozenset())

    def driver_sql(self, name: str, text: str) -> str:
        try:
            return select(text)
        except ValueError as error:
            self.refuse(("drivers", name), f"driver {name}: {error}", "write one SELECT over tables by name")
            return ""

    def rule(self, number: int, rule: _Rule) -> Rule:
        loc = ("rules", number)
        needed = _NEEDS[rule.method]
        given = {key for key in ("parts", *_KINDS) if getattr(rule, key) is not None}
        if given != {needed}:
            self.refuse(
                loc,
                f"rule {rule.id}: method {rule.method} takes {needed} and says {', '.join(sorted(given)) or 'nothing'}",
                f"give {needed} alone",
            )
        rest = tuple(self.step((*loc, "fallback", i), rule, step) for i, step in enumerate(rule.fallback))
        if rule.method == "composite":
            shares = sum(part.share for part in rule.parts or [])
            if shares != BASIS_POINTS:
                self.refuse(
                    (*loc, "parts"),
                    f"rule {rule.id}: its parts sum to {shares}",
                    f"make the shares sum to {BASIS_POINTS}",
                )
            for key in ("cap", "cutoff"):
                if getattr(rule, key):
                    self.refuse((*loc, key), f"rule {rule.id}: {key} stands on a composite rule", "put it on the part it is for")
            parts = tuple(
                self.part((*loc, "parts", i), rule, part, str(i + 1), part.share, rest) for i, part in enumerate(rule.parts or [])
            )
        else:
            parts = (self.part(loc, rule, rule, "", BASIS_POINTS, rest),)
        start, end = rule.effective.start or date.min, rule.effective.end or date.max
        if start >= end:
            self.refuse(
                (*loc, "effective"), f"rule {rule.id} is in force on no day", "`to` is the first day it no longer holds"
            )
        eligible = self.predicate((*loc, "eligible"), rule.eligible) if rule.eligible else None
        return Rule(rule.id, rule.pool, rule.method, parts, eligible, start, end, line_of(self.tree, loc))

    def part(
        self, loc: tuple[Any, ...], rule: _Rule, part: _Limited, label: str, share: int, rest: tuple[Step, ...]
    ) -> Part:
        chain = (self.step(loc, rule, part), *rest)
        cap = cutoff = None
        if part.cap:
            self.check_driver((*loc, "cap", "of"), rule, part.cap.of)
            cap = Cap(part.cap.times, part.cap.of, part.cap.excess, line_of(self.tree, (*loc, "cap", "excess")))
        if part.cutoff:
            cutoff = Cutoff(part.cutoff.below, part.cutoff.to, line_of(self.tree, (*loc, "cutoff", "to")))
        for key, limit in (("cap", cap), ("cutoff", cutoff)):
            if limit and not any(step.shares for step in chain):
                self.refuse((*loc, key), f"rule {rule.id}: {key} on steps that name who pays", f"remove the {key}")
        return Part(label, share, chain, cap, cutoff)

    def step(self, loc: tuple[Any, ...], rule: _Rule, step: _Step) -> Step:
        given = [key for key in _KINDS if getattr(step, key) is not None]
        if step is not rule and len(given) != 1:
            self.refuse(loc, f"rule {rule.id}: a step needs one of {', '.join(_KINDS)}", "keep one of them")
        key = given[0] if given else "to"
        value = getattr(step, key)
        kind = "even" if step is rule and rule.method == "even" else _KINDS[key]
        weights = tuple(sorted(value.items())) if kind == "fixed" else ()
        if kind == "fixed" and not any(weight for _, weight in weights):
            self.refuse((*loc, "weights"), f"rule {rule.id}: all weights are zero", "give one owner a weight")
        line = line_of(self.tree, (*loc, key))
        if kind in ("driver", "even"):
            self.check_driver((*loc, key), rule, value)
        by = step.by if step.by is not None else rule.by or []
        name = value if isinstance(value, str) else ""
        return Step(kind, name, tuple(by), step.window or rule.window or "period", weights, line)

    def check_driver(self, loc: tuple[Any, ...], rule: _Rule, name: str) -> None:
        if name == ALLOCATED:
            return
        unknown = self.known_drivers is not None and name not in self.known_drivers and name not in self.file.drivers
        if name.startswith("@") or unknown:
            self.refuse(loc, f"rule {rule.id}: unknown driver {name}", "declare it, or bring it with that name")

    def check_pools(self, policy: AllocationPolicy) -> None:
        names = [pool.name for pool in policy.pools]
        if UNALLOCATED in names:
            self.refuse(("pools", UNALLOCATED), "unallocated is a reserved name", "name the pool differently")
        if "rest" not in names:
            self.refuse(("pools",), "the pool rest is missing", 'end the pools with rest: "true"')
        elif names[-1] != "rest" or policy.pools[-1].predicate.sql.lower() != "true":
            self.refuse(
                ("pools", "rest"),
                "the pool rest is not the last one, with the condition true",
                'end the pools with rest: "true"',
            )
        for name in names:
            versions = sorted((r for r in policy.rules if r.pool == name), key=lambda r: (r.start, r.end))
            if not versions:
                self.refuse(("pools", name), f"pool {name} has no rule", "add a rule for it")
                continue
            self.check_dates(policy, name, versions)

    def check_dates(self, policy: AllocationPolicy, pool: str, versions: list[Rule]) -> None:
        where = [("rules", policy.rules.index(rule), "effective") for rule in versions]
        if versions[0].start != date.min:
            self.refuse(
                where[0], f"pool {pool} has no rule before {versions[0].start}", "leave `from` out of its first rule"
            )
        for at, before, after in zip(where[1:], versions, versions[1:], strict=False):
            if before.end < after.start:
                self.refuse(
                    at,
                    f"pool {pool} has no rule from {before.end} to {after.start}",
                    "close the gap in the effective dates",
                )
            elif before.end > after.start:
                self.refuse(
                    at,
                    f"rules {before.id} and {after.id} of pool {pool} overlap",
                    "end one on the day the other starts",
                )
        if max(r.end for r in versions) != date.max:
            self.refuse(
                where[-1], f"pool {pool} has no rule from {versions[-1].end}", "leave `to` out of its last rule"
            )

    def check_support(self, policy: AllocationPolicy) -> None:
        pools = {pool.name for pool in policy.pools}
        for i, team in enumerate(policy.support_teams):
            loc = ("support_teams", i)
            if team in (UNALLOCATED, "rest"):
                self.refuse(loc, f"{team} is a reserved name", "name a team")
            elif team not in pools:
                self.refuse(loc, f"support team {team} has no pool of its name", "add the pool and its rule")
            if team in policy.support_teams[:i]:
                self.refuse(loc, f"support team {team} is named twice", "keep it once")
        if policy.cycles == "step_down" and sorted(policy.order) != sorted(policy.support_teams):
            self.refuse(
                ("order",) if policy.order else ("cycles",),
                "step_down needs the order of all support teams",
                "add order: [..] with each once",
            )
        if policy.cycles != "step_down" and policy.order:
            self.refuse(
                ("order",), f"order has no meaning with cycles: {policy.cycles}", "remove it, or say cycles: step_down"
            )

    def check_rules(self, policy: AllocationPolicy) -> None:
        pools = {pool.name for pool in policy.pools}
        seen: set[str] = set()
        for i, rule in enumerate(policy.rules):
            if rule.pool not in pools:
                self.refuse(("rules", i, "pool"), f"rule {rule.id}: unknown pool {rule.pool}", "name one of the pools")
            if rule.id in seen:
                self.refuse(("rules", i, "id"), f"two rules have the id {rule.id}", "give each version its own id")
            seen.add(rule.id)
            self.check_receivers(policy, rule)

    def check_receivers(self, policy: AllocationPolicy, rule: Rule) -> None:
        """Owners that the rule names exist, and a cap or a cutoff does not send its part back to who passes it on."""
        known = {UNALLOCATED, *policy.support_teams, *(self.known_teams or ())}
        for target, line in dict.fromkeys(named for part in rule.parts for named in part.receivers):
            if self.known_teams is not None and target not in known:
                what = f"rule {rule.id}: unknown team {target}"
                self.reasons.append(Refused(what, policy.where(line), "name a team or unallocated"))
        for target, line in dict.fromkeys(named for part in rule.parts for named in part.limited):
            if target in policy.closed(rule.pool):
                what = f"rule {rule.id}: {target} cannot take from this pool, it has passed it on"
                self.reasons.append(Refused(what, policy.where(line), "name another owner"))

    def check_chains(self, policy: AllocationPolicy) -> None:
        """A rule must not be able to end without an owner: some step of it has to hold whatever the drivers say."""
        for rule in policy.rules:
            closed = policy.closed(rule.pool)
            if not any(self.holds(rule, step, closed) for part in rule.parts for step in part.chain):
                fix = "end its fallback with {to: unallocated}"
                self.reasons.append(Refused(f"rule {rule.id} can end without an owner", policy.where(rule.line), fix))

    @staticmethod
    def holds(rule: Rule, step: Step, closed: frozenset[str]) -> bool:
        always = step.kind == "to" or (step.kind == "fixed" and rule.eligible is None)
        return always and any(target not in closed for target in named_targets(step))

    def check_cycles(self, policy: AllocationPolicy) -> None:
        for day in sorted({rule.start for rule in policy.rules}):
            rules = [rule for rule in policy.rules if rule.start <= day < rule.end]
            for group in groups(policy.support_teams, policy.flows(rules)):
                if len(group) == 1:
                    continue
                cycle = " and ".join(group)
                inside = [rule for rule in rules if rule.pool in group]
                if policy.cycles == "error":
                    fix = "say cycles: reciprocal, or step_down with an order"
                    self.reasons.append(Refused(f"{cycle} pass cost to each other", policy.where(inside[0].line), fix))
                    return
                capped = next((part.cap for rule in inside for part in rule.parts if part.cap), None)
                if policy.cycles == "reciprocal" and capped:
                    fix = "say cycles: step_down with an order, or remove the cap"
                    self.reasons.append(Refused(f"a cap between {cycle}, which pass cost to each other", policy.where(capped.line), fix))
                    return
                if policy.cycles == "reciprocal" and all(
                    self.stays(step, group) for rule in inside for step in rule.steps
                ):
                    fix = "let one of them pass cost to an owner"
                    self.reasons.append(
                        Refused(f"{cycle} pass cost only to each other", policy.where(inside[0].line), fix)
                    )
                    return

    @staticmethod
    def stays(step: Step, group: tuple[str, ...]) -> bool:
        targets = named_targets(step)
        return bool(targets) and all(target in group for target in targets)


# SQL inside the file -------------------------------------------------------------------------------------------------

_ALLOWED = (
    exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT,
    exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between, exp.Is, exp.Like, exp.Neg,
)  # fmt: skip


def predicate(text: str) -> Predicate:
    """`text` parsed and written anew with quoted names; ValueError says what is not allowed."""
    found = _parsed(text, "condition")
    columns = set()
    for node in found.walk():
        if type(node) not in _ALLOWED:
            raise ValueError(f"{type(node).__name__.lower()} is not allowed in a condition")
        if isinstance(node, exp.In) and (set(k for k, v in node.args.items() if v) - {"this", "expressions"}):
            raise ValueError("in takes a list of literals")
        if isinstance(node, exp.Column):
            if node.table or not isinstance(node.this, exp.Identifier):
                raise ValueError("name columns without a table")
            columns.add(node.name.lower())
    whole = found.unnest()
    if not isinstance(whole, exp.Boolean | exp.Connector | exp.Not | exp.Predicate | exp.Column):
        raise ValueError("is not a condition")
    return Predicate(found.sql(dialect="duckdb", identify=True, comments=False), frozenset(columns))


def select(text: str) -> str:
    """`text`, one SELECT over tables by name, written anew; ValueError otherwise."""
    found = _parsed(text, "SELECT")
    if not isinstance(found, exp.Query):
        raise ValueError("is not one SELECT")
    for table in found.find_all(exp.Table):
        if (
            not isinstance(table.this, exp.Identifier)
            or table.db
            or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", table.name)
        ):
            raise ValueError("reads something that is not a table's name")
    return found.sql(dialect="duckdb", comments=False)


def _parsed(text: str, what: str) -> exp.Expression:
    """`text` as one expression; ValueError if it is none, more, or so long or deep that it was not written by hand."""
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    try:
        found = sqlglot.parse(text, dialect="duckdb")
    except (sqlglot.errors.SqlglotError, RecursionError):
        raise ValueError(f"is not a {what}") from None
    if len(found) != 1 or found[0] is None:
        raise ValueError(f"is not one {what}")
    return found[0]


# In plain language ---------------------------------------------------------------------------------------------------


def describe(policy: AllocationPolicy) -> list[tuple[str, str, str]]:
    """(rule_id, pool, sentence) of every rule, in the order of the file."""
    return [(rule.id, rule.pool, _sentence(policy, rule)) for rule in policy.rules]


def tell(policy: AllocationPolicy) -> list[str]:
    """Every pool in the order in which they are tried, what falls into it, and its rules by date."""
    told = []
    for number, pool in enumerate(policy.pools, start=1):
        told.append(f"{number}. {pool.name}: {condition(pool.predicate)}")
        rules = sorted((rule for rule in policy.rules if rule.pool == pool.name), key=lambda rule: rule.start)
        told += [f"   {rule.id}: {_sentence(policy, rule)}" for rule in rules]
    return told


def condition(predicate: Predicate) -> str:
    """What a condition chooses, in words where it is simple, else as it is written."""
    if predicate.sql.lower() == "true":
        return "everything else"
    return _said(_parsed(predicate.sql, "condition").unnest()) or predicate.sql.replace('"', "")


def _said(node: exp.Expression) -> str | None:
    if isinstance(node, exp.And | exp.Or):
        sides = [_said(node.left.unnest()), _said(node.right.unnest())]
        mixed = isinstance(node, exp.And) and any(isinstance(side.unnest(), exp.Or) for side in (node.left, node.right))
        return None if None in sides or mixed else f" {'and' if isinstance(node, exp.And) else 'or'} ".join(map(str, sides))
    if isinstance(node, exp.Not) and isinstance(node.this.unnest(), exp.Is):
        return _named(node.this.unnest(), "a {} is named")
    if isinstance(node, exp.Is):
        return _named(node, "no {} is named")
    if isinstance(node, exp.EQ | exp.NEQ) and isinstance(node.left, exp.Column) and isinstance(node.right, exp.Literal):
        name, value = node.left.name.lower(), node.right.name
        if isinstance(node, exp.EQ) and (name, value) in words.VALUES:
            return words.VALUES[name, value]
        return f"the {words.column(name)} is {'not ' * isinstance(node, exp.NEQ)}{value}"
    if isinstance(node, exp.In) and isinstance(node.this, exp.Column):
        return f"the {words.column(node.this.name)} is {words.listed((value.name for value in node.expressions), 'or')}"
    return None


def _named(node: exp.Is, text: str) -> str | None:
    simple = isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Null)
    return text.format(words.column(node.this.name)) if simple else None


def _sentence(policy: AllocationPolicy, rule: Rule) -> str:
    first, last = rule.parts[0], rule.parts[0].chain[1:]
    dates = words.span(rule.start, rule.end)
    if rule.method == "composite":
        text = words.listed(f"{words.percent(part.share)} {_how(part.chain[0])}{_limits(part, ' (', ')')}" for part in rule.parts)
    else:
        text = _how(first.chain[0])
    before = first.chain[0]
    for step in last:
        text += f"; {_otherwise(rule, before, step)}"
        before = step
    if rule.eligible:
        text += f"; it counts only where {condition(rule.eligible)}"
    if rule.method != "composite":
        text += _limits(first, "; ", "")
    text = f"{dates}, {text}" if dates else text
    text = text[:1].upper() + text[1:] + "."
    return text + (" The same holds for what other rules send to this team." if rule.pool in policy.support_teams else "")


def _how(step: Step) -> str:
    """The step as the first of its rule or part."""
    if step.kind == "owner":
        return f"paid by the {words.column(step.name)}"
    if step.kind == "to":
        return "left without an owner" if step.name == UNALLOCATED else f"paid by the {step.name} team"
    return f"{_scope(step)}shared {_basis(step)}"


def _basis(step: Step) -> str:
    if step.kind == "fixed":
        return "in fixed proportions: " + ", ".join(f"{target} {weight:f}" for target, weight in step.weights)
    if step.kind == "even":
        return f"in equal parts among those with {words.driver(step.name)}"
    return f"by {words.driver(step.name)}"


def _scope(step: Step, after: str = ", ") -> str:
    """What is a pot of its own."""
    names = [words.column(name) for name in step.by] + ["day"] * (step.window == "day" and "usage_date" not in step.by)
    return f"for each {words.listed(names)}{after}" if names else ""


def _otherwise(rule: Rule, before: Step, step: Step) -> str:
    """The step as one that is tried after another."""
    if step.kind == "to":
        return f"else {words.pays(step.name)}"
    if step.kind == "owner":
        return f"else the {words.column(step.name)} pays"
    without = {"owner": "where none is known", "driver": "without any", "even": "without any"}.get(before.kind, "where they cannot take it")
    if rule.method == "composite" and before is rule.parts[0].chain[0]:
        without = "where a part has nothing to go by"
    scope = _scope(step, "") if _scope(step) != _scope(before) else ""
    return f"{without}, {_basis(step)}{' ' * bool(scope)}{scope}"


def _limits(part: Part, before: str, after: str) -> str:
    """What its cap and its cutoff say, between `before` and `after`; nothing without them."""
    said = []
    if part.cap:
        said.append(f"nobody takes more than {part.cap.times:f} times {words.driver(part.cap.of)}, {_over(part.cap.excess, 'the excess')}")
    if part.cutoff:
        said.append(_over(part.cutoff.to, f"shares below {words.percent(part.cutoff.below)}"))
    return before + "; ".join(said) + after if said else ""


def _over(owner: str, what: str) -> str:
    return f"{what} stay{'s' * (what == 'the excess')} without an owner" if owner == UNALLOCATED else f"the {owner} team pays {what}"
