"""Random months: bills that come late, are restated or credited, disputes, closes and reopenings, in any order.

After every step the ledger is the bill to the last pico-dollar and the statements are the ledger in cents; at the end the
months came to what they would have come to had everything been there on the first night, and landing, policy and books
make the same content again.
"""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from pipelines import jobs
from pipelines.errors import Refused
from tests.closing import Company, only_the_books
from tests.conftest import quiet

SEEDS = (2, 57)
STEPS = 4
NIGHTS = ("2026-10-05", "2026-11-05")
PROJECTS = ("p-a", "p-a", "p-b", "p-b", "nobody")
CENT, PICO = Decimal("0.01"), Decimal("1e-12")


class Months:
    """A company that things happen to, beside what its vendor has billed by now."""

    def __init__(self, root: Path, seed: int) -> None:
        self.company, self.chance = Company(root, "disputes: {days: 60, block_close: false}\n"), random.Random(seed)
        self.bill: dict[str, list[str]] = {}  # day -> its lines as last delivered
        self.disputes = 0

    def deliver(self, through: str) -> None:
        """One to three days that follow each other, of any month so far, each with new lines in place of those it had.

        A day comes to more than nothing: a bill that falls below it would wait for a person.
        """
        month = self.chance.choice([m for m in ("2026-09", "2026-10") if f"{m}-28" < through])
        first = self.chance.randint(1, 26)
        days = [f"{month}-{day:02}" for day in range(first, first + self.chance.randint(1, 3))]
        for day in days:
            self.bill[day] = [self.line(day, credits=0.3 if n else 0) for n in range(self.chance.randint(1, 3))]
        self.company.bill(*(line for day in days for line in self.bill[day]))

    def line(self, day: str, credits: float) -> str:
        what = self.chance.choice(("x", "y", "shared"))
        category = "Credit" if self.chance.random() < credits else "Usage"
        cost = Decimal(self.chance.randint(10**12, 10**14)).scaleb(-12)
        return f"{day},{'' if what == 'shared' else self.chance.choice(PROJECTS)},{what},{-cost.scaleb(-3).quantize(PICO) if category == 'Credit' else cost:f},USD,{category}"

    def dispute(self) -> None:
        """Any line that a statement charges is disputed for a part of it, and another person accepts that."""
        lines = self.company.rows(
            "select s.team_id, s.period, s.line_no, s.amount from statement_lines s join periods p on p.period = s.period"
            " and s.version = if(p.state = 'closed', p.version, 0) where s.amount > 0.5 and s.team_id <> 'platform' order by all"
        )
        if not lines:
            return
        team, period, line, amount = self.chance.choice(lines)
        asked, code = (amount * self.chance.randint(1, 100) / 100).quantize(CENT), self.chance.choice(("wrong_team", "wrong_rate"))
        try:
            opened = jobs.dispute(self.company.home, team, period, [line], max(asked, CENT), code, "not ours", "Lead", quiet)
            to = self.chance.choice(["platform", "unallocated", *({"a", "b"} - {team})])
            if to != team:
                jobs.resolve_dispute(self.company.home, opened.entry.facts["dispute_id"], "accepted", to, None, "Controller", quiet)
        except Refused as refused:  # what was disputed before left less of the line
            assert "at most" in str(refused)

    def close(self) -> None:
        for label, state in self.company.rows("select period, state from periods order by 1"):
            if state != "closed":
                try:
                    self.company.close(label)
                except Refused as refused:
                    assert "is not over" in str(refused)
                return

    def reopen(self) -> None:
        if closed := self.company.rows("select period from periods where state = 'closed' order by 1"):
            self.company.reopen(self.chance.choice(closed)[0])

    def hold(self) -> None:
        """The law, exactly; and every version of every month in cents: each rounded what it added, and nothing else."""
        rows = self.company.rows
        billed: dict[str, Decimal] = defaultdict(Decimal)
        for line in (line for lines in self.bill.values() for line in lines):
            billed[line[:7]] += Decimal(line.split(",")[3])
        for table in ("charges", "ledger"):
            found = dict(rows(f"select original_period, sum(effective_cost) from {table} group by all having count(*) > 0"))
            assert {month: cost for month, cost in found.items() if cost} == {month: cost for month, cost in billed.items() if cost}, table
        assert rows("select sum(chargeback_cost), sum(billed_cost) from ledger") == [(sum(billed.values()),) * 2]
        parts: dict[tuple[str, str], dict[int, Decimal]] = defaultdict(dict)
        for period, entity, since, cost in rows("select period, legal_entity, since_version, sum(chargeback_cost) from ledger group by all"):
            parts[period, entity][since] = cost.quantize(CENT, ROUND_HALF_UP)
        stated = rows("select s.period, s.legal_entity, s.version, sum(s.amount) from statement_lines s group by all")
        for period, entity, version, amount in stated:
            assert amount == sum(cents for since, cents in parts[period, entity].items() if version == 0 or 0 < since <= version)


def carried(company: Company) -> Any:
    """Who carries what of the usage of each month, wherever it is booked; what disputes moved aside."""
    return company.rows(
        "select original_period, team_id, service, sum(effective_cost), sum(chargeback_cost), sum(billed_cost), sum(list_cost) from ledger"
        " where activity <> 'adjustment' group by all having sum(effective_cost) <> 0 or sum(chargeback_cost) <> 0 order by all"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_books_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    only_the_books(monkeypatch)
    months = Months(tmp_path / "late", seed)
    company = months.company
    for night in NIGHTS:
        for _ in range(2):
            months.deliver(night)
        company.night(night)
        for _ in range(STEPS):
            step = months.chance.choice((months.dispute, months.close, months.close, months.reopen, months.deliver))
            step(night) if step == months.deliver else step()
            if step == months.deliver:
                company.night(night)
            months.hold()
    while company.rows("select period from periods where period < '2026-11' and state <> 'closed'"):
        months.close()
    months.hold()
    assert company.night(NIGHTS[-1]).changed is False  # closing is a fixed point

    early = Company(tmp_path / "early")
    early.bill(*(line for day in sorted(months.bill) for line in months.bill[day]))
    early.night(NIGHTS[-1])
    assert carried(company) == carried(early)

    before = company.content()
    company.forget()
    company.night(NIGHTS[-1])
    after = company.content()
    assert before.keys() == after.keys() and [name for name in before if before[name] != after[name]] == []
