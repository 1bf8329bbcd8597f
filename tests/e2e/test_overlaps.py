"""One account, two sources that bill it: the later bill waits with a reason until sources.yaml says which counts, and the night goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs, landing
from pipelines.books import Arrivals, Books
from pipelines.home import Home
from pipelines.policy.files import Sources
from pipelines.warehouse import memory
from tests.closing import only_the_books
from tests.conftest import empty_home, quiet
from tests.e2e.test_bills_of_vendors import activity, put

NIGHT = date(2026, 9, 20)
FIELDS = {"billing_account_id": "Account", "day": "Day", "cost": "Cost", "currency": {"value": "USD"}, "sub_account_id": "Project", "charge_frequency": "How"}
Record = dict[str, str]


def sources(first: Any = None, second: Any = None) -> dict[str, Any]:
    said = {"provider": "router", "legal_entity": "MAIN"}
    return {
        "version": 1,
        "billing": [
            {"name": "api", "format": "openrouter", "billing_account_id": "or-1", **said, **(first or {})},
            {"name": "portal", "format": "mapped_bill", "fields": FIELDS, **said, **(second or {})},
        ],
    }


def bill(*rows: str) -> str:
    return "\n".join(["Account,Day,Cost,Project,How", *rows, ""])


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with memory() as found:
        yield found


def land(con: duckdb.DuckDBPyConnection, home: Home, said: dict[str, Any]) -> landing.LandingReport:
    return landing.land(con, home, Sources.model_validate(said), NIGHT, Arrivals(Books(home), con, NIGHT), quiet)


def states(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(con.execute("select path[9:], state from source_files").fetchall())


HANDED_OVER = ({"record": {"to": "2026-09-03"}}, {"record": {"from": "2026-09-03"}})


@pytest.mark.parametrize("order", [("api", "portal"), ("portal", "api")])
def test_the_later_bill_waits_whichever_it_is(tmp_path: Path, con: duckdb.DuckDBPyConnection, order: tuple[str, str]) -> None:
    home = Home(tmp_path)
    files = {"api": ("api/1.json", activity((2, "1"), (3, "1"), (4, "1"))), "portal": ("portal/1.csv", bill("or-1,2026-09-03,5,p,", "or-1,2026-09-04,5,p,"))}
    first, second = (files[name] for name in order)
    put(home, *first)
    assert land(con, home, sources()).refused == []
    put(home, *second)
    for _ in range(2):
        report = land(con, home, sources())
        (refused,) = report.refused
        for words in (f"billing/{second[0]}: or-1 is billed by {order[0]} and by {order[1]} (2 days, 2026-09-03 to 2026-09-04)", "record: {to: 2026-09-03}"):
            assert words in str(refused)
        assert len(report.held) == 1 and states(con) == {first[0]: "landed", second[0]: "held"}
    assert land(con, home, sources(*HANDED_OVER)).refused == []
    assert states(con) == {first[0]: "landed", second[0]: "landed"}


def test_what_does_not_clash_lands(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    home = Home(tmp_path)
    put(home, "api/1.json", activity((2, "1"), (3, "1")))
    put(home, "portal/other-days.csv", bill("or-1,2026-09-04,5,p,"))
    put(home, "portal/other-account.csv", bill("or-2,2026-09-03,5,p,"))
    assert land(con, home, sources()).refused == []
    put(home, "portal/a-month.csv", bill("or-1,2026-09-05,5,p,", "or-1,2026-09-02,5,p,"))
    assert len(land(con, home, sources()).held) == 1
    mine, theirs = {"scope": {"sub_account_id": "q*"}}, {"scope": {"sub_account_id": ["x", "p"]}}
    assert len(land(con, home, sources(None, theirs)).held) == 1
    assert land(con, home, sources(None, mine)).held == []  # none of its lines is ours


def test_a_newer_bill_of_the_other_source_takes_its_claim_back(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    home = Home(tmp_path)
    put(home, "portal/1.csv", bill("or-1,2026-09-01,1,p,", "or-1,2026-09-02,5,p,", "or-1,2026-09-03,1,p,"))
    land(con, home, sources())
    put(home, "api/1.json", activity((2, "1")))
    assert "(2026-09-02)" in land(con, home, sources()).held[0]
    put(home, "portal/2.csv", bill("or-1,2026-09-01,4,p,", "or-1,2026-09-03,3,p,"))  # and nothing on the second
    land(con, home, sources())
    assert land(con, home, sources()).held == [] and set(states(con).values()) == {"landed"}


def test_a_fee_claims_every_day_that_it_is_spread_over(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    home = Home(tmp_path)
    fields = {name: column for name, column in FIELDS.items() if name != "day"} | {"period": "Day"}
    monthly = sources(None, {"fields": fields})
    put(home, "api/1.json", activity((12, "1")))
    land(con, home, monthly)
    put(home, "portal/1.csv", bill("or-1,2026-09,30,p,"))
    assert "(2026-09-12)" in land(con, home, monthly).held[0]


def test_the_night_goes_on_and_the_declared_hand_over_gives_what_it_would_have_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_the_books(monkeypatch)

    def ledger(home: Home) -> list[Any]:
        with duckdb.connect(str(home.current), read_only=True) as con:
            return con.execute("select usage_date, service, sum(effective_cost) from ledger group by all order by all").fetchall()

    def say(home: Home, *records: Any) -> None:
        Home(home.root).policy.joinpath("sources.yaml").write_text(str(sources(*records)).replace("'", '"').replace("None", "null"))

    home, whole = (empty_home(tmp_path / name, "") for name in ("nights", "at-once"))
    api, portal = ("api/1.json", activity((2, "1"), (3, "1"))), ("portal/1.csv", bill("or-1,2026-09-03,5,p,", "or-1,2026-09-04,5,p,"))
    say(home)
    put(home, *api)
    jobs.nightly(home, NIGHT, quiet)
    before = ledger(home)
    put(home, *portal)
    assert [str(line).split(":")[0] for line in jobs.nightly(home, NIGHT, quiet).refused] == ["billing/portal/1.csv"]
    assert ledger(home) == before
    say(home, *HANDED_OVER)
    assert jobs.nightly(home, NIGHT, quiet).refused == []
    say(whole, *HANDED_OVER)
    put(whole, *api)
    put(whole, *portal)
    jobs.nightly(whole, NIGHT, quiet)
    assert ledger(home) == ledger(whole) and [float(row[2]) for row in ledger(home)] == [1, 5, 5]
