"""A second, naive allocation in exact fractions, and random policies on which the engine must agree with it to the last digit.

The second one shares no code with the first: it looks at one charge at a time, has no pots, no SQL and no integers until the
very end, and eliminates mutual services one team at a time. A failing case prints its number; run it again with
`APPORTION_ORACLE_FIRST=number APPORTION_ORACLE_CASES=1`.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import warehouse
from pipelines.allocation import engine, rules
from pipelines.errors import Refused

CASES = int(os.environ.get("APPORTION_ORACLE_CASES", "250"))
FIRST = int(os.environ.get("APPORTION_ORACLE_FIRST", "0"))
BATCH = 50

START, END = date(2026, 10, 1), date(2026, 11, 1)
OWNERS = ["ann", "bob", "cat", "dan", "eve"]
SUPPORT = ["net", "ops", "sec"]
CLUSTERS = ["c1", "c2", None]
MEASURES = ["cost", "list_cost"]
HELD = "@allocated"
CALLED = {HELD: "what each team already carries"}


# The naive allocation ------------------------------------------------------------------------------------------------


class Cyclic(Exception):
    """Support teams pass cost to each other where the policy does not allow it."""


@dataclass
class Case:
    """A policy as it is written in YAML, charges, drivers, and whom the conditions in the policy let pay."""

    policy: dict[str, Any]
    charges: list[dict[str, Any]]
    drivers: dict[str, list[dict[str, Any]]]
    types: dict[str, str]
    allowed: dict[str, Callable[[dict[str, Any]], bool]]


@dataclass
class Found:
    """Where one part of one charge goes: the share of each (target, project), and why."""

    part: str
    share: int
    level: int
    driver: str | None
    reasons: list[str]
    pot: tuple[Any, ...]
    shares: dict[tuple[str, str | None], Fraction]
    quantities: dict[tuple[str, str | None], Fraction | None]
    notes: dict[str, str] = field(default_factory=dict)


def blank(value: Any) -> Any:
    return None if value is None or str(value) == "" else str(value)


def largest_remainder(amount: int, shares: dict[Any, Fraction]) -> dict[Any, int]:
    exact = {key: abs(amount) * share for key, share in shares.items()}
    parts = {key: x.numerator // x.denominator for key, x in exact.items()}
    queue = sorted(shares, key=lambda key: (parts[key] - exact[key], key[0], key[1] is not None, key[1] or ""))
    for key in queue[: abs(amount) - sum(parts.values())]:
        parts[key] += 1
    return {key: part if amount >= 0 else -part for key, part in parts.items()}


def cut(amount: int, low: int, high: int, whole: int) -> int:
    size = abs(amount) * high // whole - abs(amount) * low // whole
    return size if amount >= 0 else -size


class Oracle:
    def __init__(self, case: Case) -> None:
        self.case, self.policy = case, case.policy
        self.support = case.policy.get("support_teams", [])
        self.cycles = case.policy.get("cycles", "error")
        self.rules = [r for r in case.policy["rules"] if self.start(r) < END and self.end(r) > START]
        self.rows: Counter[tuple[Any, ...]] = Counter()
        self.steps: Counter[tuple[Any, ...]] = Counter()
        self.between: dict[tuple[Any, ...], list[tuple[Fraction, ...]]] = defaultdict(list)  # steps between teams that serve each other
        self.arrived: dict[tuple[str, int, str], list[int]] = {}  # what such a team got from outside: charge, stage, team
        self.held: list[tuple[dict[str, Any], str, int]] = []  # what owners hold: charge, owner, pico-units
        self.held_before: list[tuple[dict[str, Any], str, int]] = []  # ... from earlier stages
        self.landed: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])

    @staticmethod
    def start(rule: dict[str, Any]) -> date:
        return date.fromisoformat(rule.get("effective", {}).get("from", "0001-01-01"))

    @staticmethod
    def end(rule: dict[str, Any]) -> date:
        return date.fromisoformat(rule.get("effective", {}).get("to", "9999-12-31"))

    def chains(self, rule: dict[str, Any]) -> list[tuple[str, int, list[dict[str, Any]], dict[str, Any]]]:
        """(part, share, steps, where its cap and cutoff are); a step knows its own `by` and `window`."""
        tops = [(str(i), p["share"], p) for i, p in enumerate(rule.get("parts", []), 1)] or [("", 10000, rule)]
        chains = []
        for label, share, top in tops:
            first = dict(top)
            if rule["method"] == "even":
                first = {"even": rule["driver"], **{k: v for k, v in rule.items() if k in ("by", "window")}}
            steps = []
            for step in [first, *rule.get("fallback", [])]:
                own = {k: step[k] for k in ("driver", "even", "to", "weights", "owner_column") if k in step}
                own["by"] = step.get("by", rule.get("by", []))
                own["window"] = step.get("window", rule.get("window", "period"))
                steps.append(own)
            chains.append((label, share, steps, top))
        return chains

    def closed(self, pool: str) -> set[str]:
        if pool not in self.support:
            return set()
        order = self.policy.get("order", [])
        return {pool, *(order[: order.index(pool)] if self.cycles == "step_down" else [])}

    def run(self) -> None:
        uses_held = {
            rule["pool"]
            for rule in self.rules
            for _, _, steps, top in self.chains(rule)
            if any(HELD in (s.get("driver"), s.get("even")) for s in steps) or top.get("cap", {}).get("of") == HELD
        }
        plain = [pool for pool in self.policy["pools"] if pool not in self.support]
        stages = [[p for p in plain if p not in uses_held], [p for p in plain if p in uses_held], *self.groups()]
        for number, pools in enumerate(stage for stage in stages if stage):
            self.held_before = list(self.held)
            self.stage(number, pools)

    # Support teams

    def declared_cycle(self) -> bool:
        """Whether the policy alone, on any day of any period, makes support teams pass cost to each other."""
        rules = [rule for rule in self.policy["rules"] if rule["pool"] in self.support]
        for day in {self.start(rule) for rule in rules}:
            flows = self.flows((r for r in rules if self.start(r) <= day < self.end(r)), data=False)
            if any(team in self.reach(flows, team) for team in self.support):
                return True
        return False

    def flows(self, rules: Iterable[dict[str, Any]], data: bool = True) -> set[tuple[str, str]]:
        found = set()
        for rule in rules:
            for _, _, steps, top in self.chains(rule):
                names = [s["to"] for s in steps if "to" in s]
                names += [t for s in steps for t, w in s.get("weights", {}).items() if Fraction(str(w)) > 0]
                names += [top["cap"]["excess"]] if "cap" in top else []
                names += [top["cutoff"]["to"]] if "cutoff" in top else []
                for step in steps if data else []:
                    if "owner_column" in step:
                        owners = [(charge[step["owner_column"]] or "").strip() for charge in self.case.charges]
                        names += [owner for owner in owners if self.case.allowed[rule["id"]]({"target": owner})]
                    driver = step.get("driver") or step.get("even")
                    if driver and driver != HELD:
                        rows = filter(self.case.allowed[rule["id"]], self.case.drivers[driver])
                        names += [r["target"] for r in rows if r["weight"] > 0 or "even" in step]
                found |= {(rule["pool"], n) for n in names if n in self.support and n != rule["pool"]}
        return found

    def reach(self, flows: set[tuple[str, str]], team: str) -> set[str]:
        seen, todo = set(), [team]
        while todo:
            at = todo.pop()
            new = {b for a, b in flows if a == at} - seen
            seen |= new
            todo += new
        return seen

    def groups(self) -> list[list[str]]:
        passing = [rule for rule in self.rules if rule["pool"] in self.support]
        if self.cycles == "step_down":
            return [[team] for team in self.policy["order"]]
        if self.cycles == "error":
            for day in {self.start(rule) for rule in passing}:
                flows = self.flows(r for r in passing if self.start(r) <= day < self.end(r))
                if any(team in self.reach(flows, team) for team in self.support):
                    raise Cyclic
        flows = self.flows(passing)
        reach = {team: self.reach(flows, team) for team in self.support}
        left, ordered = list(self.support), []
        while left:
            for team in left:
                group = [t for t in left if t == team or (t in reach[team] and team in reach[t])]
                if not any(set(group) & reach[other] for other in left if other not in group):
                    break
            ordered.append(group)
            left = [t for t in left if t not in group]
        for group in ordered:
            if len(group) > 1 and any("cap" in top for r in passing if r["pool"] in group for *_, top in self.chains(r)):
                raise Cyclic
        return ordered

    # One stage

    def stage(self, number: int, pools: list[str]) -> None:
        mutual = len(pools) > 1 and pools[0] in self.support
        items: dict[tuple[int, str], list[int]] = {}
        for i, charge in enumerate(self.case.charges):
            for pool in pools:
                sums = [0, 0]
                if charge["pool"] == pool:
                    sums = [charge["cost"], charge["list_cost"]]
                if charge["pool"] == pool or (i, pool) in self.landed:
                    items[i, pool] = [a + b for a, b in zip(sums, self.landed[i, pool], strict=True)]
        touched = sorted({i for i, _ in items})
        wanted = [(i, pool) for i in touched for pool in pools] if mutual else list(items)
        found = {(i, pool): self.resolve(number, self.case.charges[i], pool) for i, pool in wanted}
        self.limit(items, found)
        for (i, pool), amounts in items.items():
            if mutual:
                self.settle(number, i, pool, amounts, [self.solved(i, pool, pools, found)])
            else:
                self.settle(number, i, pool, amounts, found[i, pool])
        for i in touched if mutual else []:
            self.pass_around(number, i, pools, {pool: items[i, pool] for pool in pools if (i, pool) in items}, found)

    def rule(self, charge: dict[str, Any], pool: str) -> dict[str, Any]:
        (rule,) = [r for r in self.rules if r["pool"] == pool and self.start(r) <= charge["usage_date"] < self.end(r)]
        return rule

    def resolve(self, stage: int, charge: dict[str, Any], pool: str) -> list[Found]:
        rule, found = self.rule(charge, pool), []
        for label, share, steps, _ in self.chains(rule):
            reasons: list[str] = []
            for level, step in enumerate(steps):
                quantities, why = self.weights(rule, step, charge)
                if quantities:
                    kind = step.get("driver") or step.get("even")
                    told = list(reasons)
                    if step.get("to") == "unallocated" and not reasons:
                        told = [f"rule {rule['id']} leaves it without an owner"]
                    total = sum(quantities.values())
                    shares = {key: q / total for key, q in quantities.items()}
                    named = "to" in step or "owner_column" in step
                    shown = {key: None if named else q for key, q in quantities.items()}
                    key = [blank(charge[c]) for c in step["by"]] + [charge["usage_date"] if step["window"] == "day" else None]
                    pot = () if named else (rule["id"], label, level, *key)
                    found.append(Found(label, share, level, kind, told, pot, shares, shown))
                    break
                reasons.append(why)
        assert found, "a rule that can end without an owner"
        return found

    def weights(
        self, rule: dict[str, Any], step: dict[str, Any], charge: dict[str, Any]
    ) -> tuple[dict[tuple[str, str | None], Fraction], str]:
        closed, allowed = self.closed(rule["pool"]), self.case.allowed[rule["id"]]
        if "to" in step:
            there = {} if step["to"] in closed else {(step["to"], None): Fraction(1)}
            return there, f"the {step['to']} team cannot take it"
        if "weights" in step:
            given = {t: Fraction(str(w)) for t, w in step["weights"].items()}
            kept = {t: w for t, w in given.items() if w > 0 and t not in closed and allowed({"target": t})}
            return {(t, None): w for t, w in kept.items()}, "none of the teams named can take it"
        if "owner_column" in step:
            owner = (charge[step["owner_column"]] or "").strip()
            ok = owner and owner not in closed and allowed({"target": owner})
            return ({(owner, None): Fraction(1)} if ok else {}), "no owner of the vendor project or key is known"
        name = step.get("driver") or step["even"]
        sums: dict[tuple[str, str | None], Fraction] = defaultdict(Fraction)
        for row in self.rows_for(rule, step, charge, name):
            if allowed(row) and row["target"] not in closed:
                sums[row["target"], None if "even" in step else row.get("project")] += row["weight"]
        if "even" in step:
            sums = {key: Fraction(1) for key in sums}
        return {k: w for k, w in sums.items() if w > 0}, "nobody carries any cost yet" if name == HELD else f"no record of {name}"

    def rows_for(
        self, rule: dict[str, Any], step: dict[str, Any], charge: dict[str, Any], name: str
    ) -> Iterable[dict[str, Any]]:
        """The rows of a driver that hold for this charge: by key and by day."""
        first, last = max(START, self.start(rule)), min(END, self.end(rule))
        rows = self.carried() if name == HELD else self.case.drivers[name]
        for row in rows:
            day = row.get("usage_date")
            if step["window"] == "day":
                if day is not None and day != charge["usage_date"]:
                    continue
            elif day is not None and not first <= day < last:
                continue
            mine = {c: blank(charge[c]) for c in step["by"]}
            if name == HELD:
                if any(blank(row[c]) != mine[c] for c in mine):
                    continue
            elif any(blank(row.get(c)) not in (None, mine[c]) for c in mine):
                continue
            yield row

    def carried(self) -> list[dict[str, Any]]:
        return [
            {**charge, "target": target, "weight": Fraction(units, 10**12), "project": None}
            for charge, target, units in self.held_before
            if target != "unallocated"
        ]

    # Caps and cutoffs

    def limit(self, items: dict[tuple[int, str], list[int]], found: dict[tuple[int, str], list[Found]]) -> None:
        pots: dict[tuple[Any, ...], list[tuple[int, str, Found, int]]] = defaultdict(list)
        for (i, pool), parts in found.items():
            low, whole = 0, sum(p.share for p in parts)
            for part in parts:
                amount = cut(items[i, pool][0], low, low + part.share, whole) if (i, pool) in items else 0
                low += part.share
                if part.pot:
                    pots[part.pot].append((i, pool, part, amount))
        for members in pots.values():
            i, pool, part, _ = members[0]
            charge = self.case.charges[i]
            rule = self.rule(charge, pool)
            (_, _, steps, top) = next(c for c in self.chains(rule) if c[0] == part.part)
            self.limit_pot(rule, steps[part.level], top, charge, sum(m[3] for m in members), [m[2] for m in members])

    def limit_pot(
        self, rule: dict[str, Any], step: dict[str, Any], top: dict[str, Any], charge: dict[str, Any], amount: int, parts: list[Found]
    ) -> None:
        before = parts[0]
        shares, quantities, notes = dict(before.shares), dict(before.quantities), defaultdict(list)
        excess = None
        if "cap" in top and amount > 0:
            excess, of, times = top["cap"]["excess"], top["cap"]["of"], str(top["cap"]["times"])
            most: dict[str, Fraction] = defaultdict(Fraction)
            for row in self.rows_for(rule, step, charge, of):
                if row["target"] not in self.closed(rule["pool"]):
                    most[row["target"]] += row["weight"]
            over = Fraction(0)
            for owner in {t for t, _ in shares} - {excess}:
                has = sum(s for (t, _), s in shares.items() if t == owner)
                limit = Fraction(times) * max(most[owner], 0) * 10**12 / amount
                if has > limit:
                    over += has - limit
                    notes[owner].append(f"limited to {times} times {CALLED.get(of, of)}")
                    for key in [key for key in shares if key[0] == owner]:
                        shares[key] *= limit / has
            if over:
                notes[excess].append(f"what is over {times} times {CALLED.get(of, of)}")
                shares[excess, None] = shares.get((excess, None), Fraction(0)) + over
                quantities[excess, None] = quantities.get((excess, None), Fraction(0))
        if "cap" in top:
            excess = top["cap"]["excess"]
        if "cutoff" in top:
            below, to = top["cutoff"]["below"], top["cutoff"]["to"]
            owned: dict[str, Fraction] = defaultdict(Fraction)
            for (target, _), share in shares.items():
                owned[target] += share
            small = {t for t, s in owned.items() if s * 10000 < below and t not in (to, excess)}
            for key in [key for key in shares if key[0] in small]:
                shares[to, None] = shares.get((to, None), Fraction(0)) + shares.pop(key)
                quantities[to, None] = quantities.get((to, None), Fraction(0)) + quantities.pop(key)
            if small:
                notes[to].append(f"shares below {Decimal(below) / 100:f}% together")
                for owner in small:
                    notes.pop(owner, None)
        for part in parts:
            part.shares, part.quantities = shares, quantities
            part.notes = {owner: "; ".join(said) for owner, said in notes.items()}

    # Mutual services

    def solved(self, i: int, pool: str, pools: list[str], found: dict[tuple[int, str], list[Found]]) -> Found:
        sent: dict[str, dict[Any, Fraction]] = {}
        for team in pools:
            whole = sum(p.share for p in found[i, team])
            sent[team] = defaultdict(Fraction)
            for part in found[i, team]:
                for (target, project), share in part.shares.items():
                    key = target if target in pools else (target, project)
                    sent[team][key] += Fraction(part.share, whole) * share
        stuck = {t for t in pools if not self.leaves(sent, t, set())}
        for team in stuck:
            sent[team] = {("unallocated", None): Fraction(1)}
        for gone in [team for team in pools if team != pool]:
            inner = sent.pop(gone)
            again = inner.pop(gone, Fraction(0))
            for flows in sent.values():
                share = flows.pop(gone, Fraction(0))
                for key, x in inner.items():
                    flows[key] = flows.get(key, Fraction(0)) + share * x / (1 - again)
        mine = sent[pool]
        again = mine.pop(pool, Fraction(0))
        ends = {key: x / (1 - again) for key, x in mine.items() if x}
        told = [r for p in found[i, pool] if (r := "; ".join(p.reasons) or max(p.notes.values(), default=""))]
        if pool in stuck:
            told = ["support teams pass cost only to each other"]
        level = max(p.level for p in found[i, pool])
        return Found("", 1, level, "reciprocal", [max(told)] if told else [], (), ends, dict.fromkeys(ends, Fraction(-1)))

    def pass_around(
        self, stage: int, i: int, pools: list[str], arrived: dict[str, list[int]], found: dict[tuple[int, str], list[Found]]
    ) -> None:
        """What each team sends to the others: x = F + x P, by Cramer's rule."""
        charge = self.case.charges[i]
        sent = {team: [(p, key, Fraction(p.share, sum(q.share for q in found[i, team])) * s) for p in found[i, team] for key, s in p.shares.items()] for team in pools}
        plain = {team: {key[0] if key[0] in pools else key: Fraction(1) for _, key, _ in flows} for team, flows in sent.items()}
        stuck = {team for team in pools if not self.leaves(plain, team, set())}
        share = {(a, b): sum((s for _, key, s in sent[a] if key[0] == b and a not in stuck), Fraction(0)) for a in pools for b in pools}
        matrix = [[Fraction(a == b) - share[a, b] for a in pools] for b in pools]
        through = {}
        for column, team in enumerate(pools):
            sides = [[Fraction(arrived.get(b, [0, 0])[m]) for b in pools] for m in (0, 1)]
            swapped = [[[side[r] if c == column else x for c, x in enumerate(row)] for r, row in enumerate(matrix)] for side in sides]
            through[team] = [determinant(one) / determinant(matrix) for one in swapped]
            self.arrived[charge["charge_id"], stage, team] = arrived.get(team, [0, 0])
        fed = set(arrived)
        while more := {b for a in fed for b in pools if share[a, b]} - fed:
            fed |= more
        for team in sorted(fed - stuck):
            rule, whole = self.rule(charge, team), sum(p.share for p in found[i, team])
            for part, (target, project), s in sent[team]:
                if target in pools:
                    notes = [part.notes.get(target)] + ["a part of the rule had no basis: the others took its share"] * (whole < 10000)
                    reason = "; ".join(filter(None, ["; ".join(part.reasons), *notes])) or None
                    row = (charge["charge_id"], part.part, stage, team, rule["id"], rule["method"], part.driver, target, project, part.level, reason)
                    self.between[(*row, part.shares[target, project])].append(tuple(x * s for x in through[team]))

    def leaves(self, sent: dict[str, dict[Any, Fraction]], team: str, seen: set[str]) -> bool:
        seen = seen | {team}
        return any(
            share and (key not in sent or (key not in seen and self.leaves(sent, key, seen)))
            for key, share in sent[team].items()
        )

    # Results

    def settle(self, stage: int, i: int, pool: str, amounts: list[int], parts: list[Found]) -> None:
        charge, low, whole = self.case.charges[i], 0, sum(p.share for p in parts)
        rule = self.rule(charge, pool)
        missing = parts[0].driver != "reciprocal" and whole < 10000
        for part in parts:
            cuts = [cut(a, low, low + part.share, whole) for a in amounts]
            low += part.share
            split = [largest_remainder(a, part.shares) for a in cuts]
            for key, share in part.shares.items():
                target, project = key
                notes = [part.notes.get(target)] + ["a part of the rule had no basis: the others took its share"] * missing
                reason = "; ".join(filter(None, ["; ".join(part.reasons), *notes])) or None
                if target == "unallocated" and not reason:
                    reason = "used by somebody whose team is not known"
                shown = part.quantities[key]
                row = (
                    charge["charge_id"], part.part, stage, pool, rule["id"], rule["method"], part.driver, target, project,
                    part.level, reason, shown, share, *(s[key] for s in split),
                )  # fmt: skip
                if target in self.support:
                    self.steps[row] += 1
                    landed = self.landed[i, target]
                    self.landed[i, target] = [a + s[key] for a, s in zip(landed, split, strict=True)]
                else:
                    self.rows[row] += 1
                    self.held.append((charge, target, split[0][key]))


# Random cases --------------------------------------------------------------------------------------------------------


def make(seed: int) -> Case:
    rng = random.Random(seed)
    support = rng.sample(SUPPORT, rng.choice([0, 0, 1, 2, 2, 3]))
    cycles = rng.choice(["error", "step_down", "reciprocal"])
    drivers, types = {}, {}
    for name in ("d1", "d2", "d3"):
        drivers[name], types[name] = make_driver(rng, support)
    kinds = rng.sample(["k1", "k2", "k3"], rng.randint(1, 3))
    pools = {kind: f"kind = '{kind}'" for kind in [*kinds, *support]}
    pools["rest"] = "true"
    policy: dict[str, Any] = {"version": 1, "support_teams": support, "cycles": cycles, "pools": pools, "rules": []}
    order = rng.sample(support, len(support))
    if cycles == "step_down":
        policy["order"] = order
    allowed: dict[str, Callable[[dict[str, Any]], bool]] = {}
    for pool in pools:
        cuts = sorted(rng.sample([date(2026, 9, 20), date(2026, 10, 2), date(2026, 10, 16), date(2026, 11, 1)], rng.choice([0, 0, 0, 1, 2])))
        for i, (start, end) in enumerate(zip([None, *cuts], [*cuts, None], strict=True)):
            rule, test = make_rule(rng, policy, f"{pool}-{i}", pool, order)
            rule["effective"] = {**({"from": str(start)} if start else {}), **({"to": str(end)} if end else {})}
            if rng.random() < 0.5 and not rule["effective"]:
                del rule["effective"]
            allowed[rule["id"]] = test
            policy["rules"].append(rule)
    charges = []
    for n in range(rng.randint(1, 60)):
        kind = rng.choice([*pools, "k1", "k2"])
        charges.append(
            {
                "charge_id": f"x{n}",
                "usage_date": START + timedelta(days=rng.choice([0, 1, 14, 15, 16, 30])),
                "kind": kind,
                "pool": kind if kind in pools else "rest",
                "owner": rng.choice([*OWNERS, *support, None, "", "  ", " ann "]),
                "cluster": rng.choice(CLUSTERS),
                "cost": make_amount(rng),
                "list_cost": make_amount(rng),
            }
        )
    return Case(policy, charges, drivers, types, allowed)


def make_amount(rng: random.Random) -> int:
    size = rng.choice([0, 3, 100, 10**6, 10**14, 10**18, 10**24])
    return rng.randint(-size // 3, size) if size else 0


def make_driver(rng: random.Random, support: list[str]) -> tuple[list[dict[str, Any]], str]:
    by, dated, project = rng.random() < 0.5, rng.random() < 0.4, rng.random() < 0.3
    kind = rng.choice(["bigint", "decimal(38, 3)", "decimal(38, 3)", "decimal(20, 12)", "decimal(38, 15)", "bignum", "hugeint"])
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(rng.randint(0, 14)):
        row: dict[str, Any] = {"target": rng.choice([*OWNERS, *OWNERS, *support, "unallocated"])}
        if by:
            row["cluster"] = rng.choice(CLUSTERS)
        if dated:
            row["usage_date"] = rng.choice([None, *(date(2026, 9, 30) + timedelta(days=d) for d in (0, 1, 15, 16, 32))])
        if project:
            row["project"] = rng.choice(["p", "q", None])
        key = tuple(row.items())
        row["weight"] = make_weight(rng, kind)
        rows.setdefault(key, row)
    return list(rows.values()), kind


def make_weight(rng: random.Random, kind: str) -> Fraction:
    if rng.random() < 0.2:
        return Fraction(0)
    if kind == "bignum":
        return Fraction(rng.randint(1, rng.choice([9, 10**20, 10**45])))
    if not kind.startswith("decimal"):
        return Fraction(rng.randint(1, rng.choice([3, 100, 10**13])))
    places = int(kind.rstrip(")").split(",")[1])
    return Fraction(rng.randint(1, rng.choice([9, 10**6, 10**15])), 10**places)


def make_rule(
    rng: random.Random, policy: dict[str, Any], name: str, pool: str, order: list[str]
) -> tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]:
    support = policy["support_teams"]
    is_support = pool in support
    closed = {pool} if is_support else set()
    if is_support and policy["cycles"] != "reciprocal" and (policy["cycles"] == "step_down" or rng.random() < 0.8):
        closed |= set(order[: order.index(pool)])
    owners = [*OWNERS, *(team for team in support if team not in closed), "unallocated"]
    method = rng.choice(["direct", "proportional", "proportional", "even", "fixed", "composite", "composite", "to"])
    rule: dict[str, Any] = {"id": name, "pool": pool, "method": method}
    if rng.random() < 0.5:
        rule["by"] = rng.choice([["cluster"], ["cluster"], ["cluster", "owner"], ["usage_date"]])
    if rng.random() < 0.4:
        rule["window"] = rng.choice(["day", "period"])
    if method == "composite":
        cuts = sorted(rng.sample(range(1, 10000), rng.randint(0, 3)))
        shares = [b - a for a, b in zip([0, *cuts], [*cuts, 10000], strict=True)]
        rule["parts"] = [{"share": share, **make_step(rng, owners)} for share in shares]
    elif method == "even":
        rule["driver"] = rng.choice(["d1", "d2", "d3", HELD])
    else:
        only = {"direct": "owner_column", "proportional": "driver", "fixed": "weights", "to": "to"}[method]
        rule |= make_step(rng, owners, only)
    rule["fallback"] = [make_step(rng, owners) for _ in range(rng.choice([0, 0, 1, 2]))] + [{"to": rng.choice(owners)}]
    certain = any("to" in part for part in rule.get("parts", []))
    if certain and rng.random() < 0.5:
        rule["fallback"] = rule["fallback"][:-1]
    for top in rule.get("parts", [rule]):
        steps = [top, *rule["fallback"]]
        if not any(key in step for step in steps for key in ("driver", "even", "weights")):
            continue
        if rng.random() < 0.3 and not (is_support and policy["cycles"] == "reciprocal" and rng.random() < 0.9):
            times = rng.choice(["0.5", "2", "1.25", "1000000", "0.000001"])
            top["cap"] = {"times": times, "of": rng.choice([HELD, HELD, "d1"]), "excess": rng.choice(owners)}
        if rng.random() < 0.3:
            top["cutoff"] = {"below": rng.choice([1, 100, 2500, 10000]), "to": rng.choice(owners)}
    if rng.random() < 0.3:
        without = rng.choice(OWNERS)
        sql, test = rng.choice(
            [
                (f"target <> '{without}'", lambda row: row["target"] != without),
                ("target in ('ann', 'net', 'bob')", lambda row: row["target"] in ("ann", "net", "bob")),
                ("not target like '%a%'", lambda row: "a" not in row["target"]),
            ]
        )
        return {**rule, "eligible": sql}, test
    return rule, lambda row: True


def make_step(rng: random.Random, owners: list[str], only: str | None = None) -> dict[str, Any]:
    kind = only or rng.choice(["driver", "driver", "even", "weights", "to", "owner_column"])
    step: dict[str, Any] = {}
    if kind in ("driver", "even"):
        step[kind] = rng.choice(["d1", "d2", "d3", HELD])
        if not only and rng.random() < 0.2:
            step["by"] = rng.choice([[], ["cluster"]])
        if not only and rng.random() < 0.2:
            step["window"] = rng.choice(["day", "period"])
    elif kind == "weights":
        chosen = rng.sample(owners, rng.randint(1, min(3, len(owners))))
        step["weights"] = {owner: rng.choice([1, 2, 7, "0.25", "3.000000000001"]) for owner in chosen}
    else:
        step[kind] = "owner" if kind == "owner_column" else rng.choice(owners)
    return step


# The comparison ------------------------------------------------------------------------------------------------------


def money(units: int) -> str:
    digits = f"{abs(units):013d}"
    return f"{'-' if units < 0 else ''}{digits[:-12]}.{digits[-12:]}"


def text_weight(weight: Fraction, kind: str) -> str:
    places = int(kind.rstrip(")").split(",")[1]) if kind.startswith("decimal") else 0
    digits = f"{int(weight * 10**places):0{places + 1}d}"
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def run_engine(con: Any, case: Case, folder: Path) -> tuple[Counter[tuple[Any, ...]], Counter[tuple[Any, ...]]]:
    path = folder / "allocation.yaml"
    path.write_text(json.dumps(case.policy, indent=1), encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(rules, "read", read_json)
        policy = rules.load(path, drivers=set(case.drivers))
    amounts = {"cost": "decimal(38, 12)", "list_cost": "decimal(38, 12)"}
    charges = [{**c, **{m: money(c[m]) for m in MEASURES}, "portion": "whole"} for c in case.charges]
    table(con, "portions", charges, {"usage_date": "date", **amounts})
    for name, rows in case.drivers.items():
        given = [{**row, "weight": text_weight(row["weight"], case.types[name])} for row in rows]
        table(con, name, given, {"target": "varchar", "usage_date": "date", "weight": case.types[name]})
    engine.run(con, policy, portions="portions", measures=MEASURES, period=(START, END), driver=lambda name: name, dims=["project"])
    return read(con, "allocations"), read(con, "allocation_steps")


def read_json(path: Path, model: Any) -> tuple[Any, Any]:
    """What yaml_file.read gives, of a file that is JSON: reading it as YAML takes as long as sharing the cost."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    return tree, model.model_validate(tree)


def table(con: Any, name: str, rows: list[dict[str, Any]], types: dict[str, str]) -> None:
    if not rows:
        con.execute(f"create or replace table {name}(target varchar, weight {types['weight']})")
        return
    columns = {c: pa.array([None if r.get(c) is None else str(r[c]) for r in rows], pa.string()) for c in rows[0]}
    con.register("given", pa.table(columns))
    typed = ", ".join(f"{c}::{types.get(c, 'varchar')} as {c}" for c in columns)
    con.execute(f"create or replace table {name} as select {typed} from given")
    con.unregister("given")


def read(con: Any, view: str) -> Counter[tuple[Any, ...]]:
    rows: Counter[tuple[Any, ...]] = Counter()
    for *head, level, reason, quantity, total, weight, weight_total, cost, list_cost in con.execute(
        f"""
        select charge_id, part, stage, cost_pool, rule_id, method, driver, target, project, fallback_level, reason,
            driver_quantity, driver_total, weight, weight_total, cost, list_cost
        from {view}
        """
    ).fetchall():
        share = Fraction(weight) / Fraction(weight_total)
        rows[(*head, level, reason, (quantity, total), share, units(cost), units(list_cost))] += 1
    return rows


def units(amount: Decimal) -> int:
    sign, digits, exponent = amount.as_tuple()
    assert exponent == -12
    return int("".join(map(str, digits))) * (-1 if sign else 1)


def determinant(matrix: list[list[Fraction]]) -> Fraction:
    if not matrix:
        return Fraction(1)
    minors = [[row[:c] + row[c + 1 :] for row in matrix[1:]] for c in range(len(matrix))]
    return sum(((-1) ** c * matrix[0][c] * determinant(minor) for c, minor in enumerate(minors)), Fraction(0))


def check_between(oracle: Oracle, found: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """Passages between teams that serve each other: less than a pico-unit from the exact ones, none negative for owners
    that the team does not have, and in balance for every team. Returns the other steps.
    """
    inside = {row: n for row, n in found.items() if {(row[0], row[2], row[3]), (row[0], row[2], row[7])} <= oracle.arrived.keys()}
    got: dict[tuple[Any, ...], list[tuple[int, int]]] = defaultdict(list)
    kept = {key: list(amounts) for key, amounts in oracle.arrived.items()}  # what is left for owners
    exact = {key: [Fraction(amount) for amount in amounts] for key, amounts in oracle.arrived.items()}
    for row, n in inside.items():
        got[row[:11] + row[12:13]] += [row[13:]] * n
        for m in (0, 1):
            kept[row[0], row[2], row[3]][m] -= row[13 + m] * n
            kept[row[0], row[2], row[7]][m] += row[13 + m] * n
    for key, flows in oracle.between.items():
        for flow in flows:
            for m in (0, 1):
                exact[key[0], key[2], key[3]][m] -= flow[m]
                exact[key[0], key[2], key[7]][m] += flow[m]
    assert got.keys() == oracle.between.keys()
    for key, flows in oracle.between.items():
        assert len(got[key]) == len(flows), key
        assert all(abs(a - b) < 1 for x, y in zip(sorted(got[key]), sorted(flows), strict=True) for a, b in zip(x, y, strict=True)), key
    assert all(abs(kept[key][m] - exact[key][m]) < 1 for key in kept for m in (0, 1))
    return Counter({row: n for row, n in found.items() if row not in inside})


def without_quantity(rows: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    plain: Counter[tuple[Any, ...]] = Counter()
    for row, n in rows.items():
        plain[row[:11] + row[12:]] += n
    return plain


def check_quantities(case: Case, expected: Counter[tuple[Any, ...]], found: Counter[tuple[Any, ...]]) -> None:
    """Quantities are the driver's own where DECIMAL(38,12) holds them; of reciprocal services, shares of one."""
    told = defaultdict(list)
    for row in expected:
        told[row[:11] + row[12:]].append(row[11])
    for row in found:
        (shown, total), kind, share = row[11], row[6], row[12]
        if kind == "reciprocal":
            assert abs(Fraction(shown) - share) < Fraction(1, 10**12) and total == 1, row
        elif shown is None:
            assert None in told[row[:11] + row[12:]] or case.types.get(kind) == "bignum", row
        elif case.types.get(kind) not in ("bignum", "decimal(38, 15)"):
            assert Fraction(shown) in told[row[:11] + row[12:]], row
            assert total is not None and shown <= total, row


def compare(con: Any, seed: int, folder: Path) -> str:
    case = make(seed)
    oracle = Oracle(case)
    try:
        oracle.run()
        cyclic = False
    except Cyclic:
        cyclic = True
    try:
        rows, steps = run_engine(con, case, folder)
    except Refused as refused:
        if "each other" in str(refused) and (cyclic or oracle.declared_cycle()):
            return "refused"
        raise AssertionError(f"case {seed}: refused: {refused}") from refused
    except Exception as error:
        raise AssertionError(f"case {seed}: {type(error).__name__}: {error}") from error
    assert not cyclic, f"case {seed}: a cycle was not refused"
    for expected, found in ((oracle.rows, rows), (oracle.steps, check_between(oracle, steps))):
        want, got = without_quantity(expected), without_quantity(found)
        assert want == got, f"case {seed}:\nonly expected {sorted(want - got, key=str)[:4]}\nonly found    {sorted(got - want, key=str)[:4]}"
        check_quantities(case, expected, found)
    return "agreed"


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, BATCH))
def test_the_engine_agrees_with_a_naive_allocation_in_fractions(first: int, tmp_path: Path) -> None:
    with warehouse.memory() as con:
        con.execute("set threads = 1")  # faster for so few rows
        if first != FIRST:
            con.execute("pragma disable_optimizer")  # likewise; one batch goes the way of the product
        told = Counter(compare(con, seed, tmp_path) for seed in range(first, min(first + BATCH, FIRST + CASES)))
    assert told["agreed"] > told["refused"] or CASES < BATCH
