"""A bill that falls far short of the one it replaces is held back, said every night, and counts once a person accepts it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines import landing
from pipelines.books import Arrivals, Books
from pipelines.home import Home
from pipelines.sources import Delivery, Format, registry
from pipelines.sources.reading import create_parsed
from pipelines.warehouse import memory
from tests.conftest import quiet

SELECT = """
    select 'acct' as billing_account_id, '2026-09' as billing_period, day as usage_date, cost as effective_cost, cost as billed_cost,
        'USD' as billing_currency, 0 as discarded_cost, row_number() over () as source_row
    from read_csv($path, columns = {day: 'DATE', cost: 'DECIMAL(38,12)'}, header = true, nullstr = 'none') where cost is not null
"""


def _read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """Lines of day and cost; a day whose cost is `none` is covered and empty. The source says whether a bill covers its month."""
    path = {"path": str(delivery.paths[0])}
    create_parsed(con, "billing", SELECT, path)
    day = "null::date" if source.whole else "day"
    con.execute(
        f"create or replace temp table coverage as select distinct 'acct' as billing_account_id, '2026-09' as billing_period,"
        f" {day} as usage_date from read_csv($path, columns = {{day: 'DATE', cost: 'VARCHAR'}}, header = true)",
        path,
    )


class Vendor:
    """One source of bills, and what its nights say."""

    def __init__(self, root: Path, con: duckdb.DuckDBPyConnection) -> None:
        self.home, self.con = Home(root), con
        self.folder = self.home.landing / "billing" / "vendor"
        self.folder.mkdir(parents=True)
        self.entry = SimpleNamespace(name="vendor", format="lines", whole=True, final_after_days=5, accept=[])

    def bill(self, name: str, *lines: str) -> None:
        (self.folder / name).write_text("\n".join(["day,cost", *lines]) + "\n")

    def night(self, day: str = "2026-09-10") -> list[str]:
        """What was held back."""
        night = date.fromisoformat(day)
        arrivals = Arrivals(Books(self.home), self.con, night)
        report = landing.land(self.con, self.home, SimpleNamespace(billing=[self.entry]), night, arrivals, quiet)
        assert report.refused == []
        return report.held

    def states(self) -> list[tuple[Any, ...]]:
        return self.con.execute("select path[16:], state from source_files order by path").fetchall()


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    monkeypatch.setattr(registry, "find", lambda _: Format("lines", "billing", (".csv",), _read))
    with memory() as con:
        yield Vendor(tmp_path, con)


def test_a_bill_of_less_than_half_is_held_and_named_with_both_totals(vendor: Vendor) -> None:
    vendor.bill("1.csv", "2026-09-01,60", "2026-09-02,40")
    assert vendor.night() == []
    vendor.bill("2.csv", "2026-09-01,49.99")
    for _ in range(2):
        (line,) = vendor.night()
        assert line.startswith("billing/vendor/2.csv: the cost of acct in 2026-09 falls from 100.00 to 49.99 USD, more than shrink_limit 50%")
        assert vendor.states() == [("1.csv", "landed"), ("2.csv", "held")]
    (vendor.folder / "2.csv").unlink()
    assert vendor.night() == [] and vendor.states() == [("1.csv", "landed")]


def test_small_corrections_and_growth_go_through(vendor: Vendor) -> None:
    for n, cost in enumerate(("100", "50", "70", "69.5", "300")):
        vendor.bill(f"{n}.csv", f"2026-09-01,{cost}")
        assert vendor.night() == []
    assert {state for _, state in vendor.states()} == {"landed"}


def test_an_empty_bill_of_days_with_money_is_held(vendor: Vendor) -> None:
    vendor.entry.whole = False
    vendor.bill("1.csv", "2026-09-01,60", "2026-09-02,40")
    vendor.night()
    vendor.bill("2.csv", "2026-09-03,none")
    assert vendor.night() == []  # says nothing of days that were told
    vendor.bill("3.csv", "2026-09-02,none")
    assert "from 40.00 to 0.00 USD" in vendor.night()[0]


def test_final_days_that_lose_most_of_their_lines_are_held(vendor: Vendor) -> None:
    vendor.bill("1.csv", "2026-09-01,10", "2026-09-01,10", "2026-09-01,10", "2026-09-02,10")
    vendor.night("2026-09-03")
    vendor.bill("2.csv", "2026-09-01,40")
    assert vendor.night("2026-09-03") == []  # no day is final yet
    vendor.bill("3.csv", *["2026-09-01,10"] * 4)
    assert vendor.night("2026-09-04") == []
    vendor.bill("4.csv", "2026-09-01,39")
    assert "final lines of acct in 2026-09 fall from 4 to 1 (40.00 to 39.00 USD)" in vendor.night("2026-09-08")[0]


@pytest.mark.parametrize("by", ["path", "sha256", "digits"])
def test_an_accepted_bill_counts(vendor: Vendor, by: str) -> None:
    vendor.bill("1.csv", "2026-09-01,100")
    vendor.night()
    vendor.bill("2.csv", "2026-09-01,1")
    (line,) = vendor.night()
    sha256 = hashlib.sha256((vendor.folder / "2.csv").read_bytes()).hexdigest()
    assert vendor.con.execute("select file_sha256 from source_files where state = 'held'").fetchall() == [(sha256,)]
    digits = line.rsplit("[", 1)[1].rstrip("])")
    vendor.entry.accept = [{"path": "billing/vendor/2.csv", "sha256": sha256, "digits": digits}[by]]
    assert vendor.night() == [] and vendor.states() == [("1.csv", "landed"), ("2.csv", "landed")]
    vendor.entry.accept = ["sha"]
    vendor.bill("3.csv", "2026-09-01,0.1")
    assert len(vendor.night()) == 1


def test_the_source_says_how_far_its_bills_may_fall(vendor: Vendor) -> None:
    vendor.entry.shrink_limit = 90
    for n, cost in enumerate(("100", "10", "0.5")):
        vendor.bill(f"{n}.csv", f"2026-09-01,{cost}")
    assert [line.split(":")[0] for line in vendor.night()] == ["billing/vendor/2.csv"]


def test_a_new_reader_does_not_hold_what_counted_already(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.bill("1.csv", "2026-09-01,100")
    vendor.bill("2.csv", "2026-09-01,1")
    vendor.entry.accept = ["billing/vendor/2.csv"]
    vendor.night()
    vendor.entry.accept = []
    monkeypatch.setattr(landing, "_code", lambda _: "a new release")
    assert vendor.night() == []


# --- a file that says again what it said before ------------------------------------------------------------------------


def newest(vendor: Vendor) -> tuple[Any, ...]:
    return vendor.con.execute("select path[16:], last_day, seq from source_files where state = 'landed' order by seq desc limit 1").fetchall()[0]


def test_what_a_file_says_again_is_the_newest_again(vendor: Vendor) -> None:
    a, b = ("2026-09-01,60", "2026-09-02,40"), ("2026-09-01,60", "2026-09-03,40")
    for n, lines in enumerate((a, b, a, b), 1):
        vendor.bill("1.csv", *lines)
        for _ in range(2):  # and once only
            assert vendor.night() == []
            assert newest(vendor) == ("1.csv", date(2026, 9, 2 if lines is a else 3), n)
    assert vendor.con.execute("select count(*) from source_files where state = 'landed'").fetchall() == [(2,)]
    fresh = Arrivals(Books(vendor.home), vendor.con, date(2026, 9, 10))
    assert sorted(seq for seq, _ in fresh.known.values()) == [3, 4]  # as a rebuilt warehouse sees it


def test_an_old_file_that_is_put_back_with_its_old_time_is_seen(vendor: Vendor) -> None:
    vendor.bill("1.csv", "2026-09-01,60")
    path = vendor.folder / "1.csv"
    stat = path.stat()
    vendor.night()
    vendor.bill("1.csv", "2026-09-01,61")
    vendor.night()
    vendor.bill("1.csv", "2026-09-01,60")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    vendor.night()
    assert newest(vendor)[2] == 3


def test_a_copy_of_an_overtaken_bill_says_nothing_new(vendor: Vendor) -> None:
    vendor.bill("1.csv", "2026-09-01,60")
    vendor.night()
    vendor.bill("2.csv", "2026-09-01,61")
    vendor.night()
    vendor.bill("copy-of-1.csv", "2026-09-01,60")
    vendor.night()
    assert newest(vendor)[::2] == ("2.csv", 2) and dict(vendor.states())["copy-of-1.csv"] == "same_content"


def test_what_comes_back_much_smaller_is_held(vendor: Vendor) -> None:
    vendor.bill("1.csv", "2026-09-01,10")
    vendor.night()
    vendor.bill("1.csv", "2026-09-01,100")
    vendor.night()
    vendor.bill("1.csv", "2026-09-01,10")
    for _ in range(2):
        assert "falls from 100.00 to 10.00 USD" in vendor.night()[0] and newest(vendor)[2] == 2
    vendor.entry.accept = ["billing/vendor/1.csv"]
    assert vendor.night() == [] and newest(vendor)[2] == 3
