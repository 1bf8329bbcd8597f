"""What workbooks cost: CPU seconds and memory of many teams, and of one team with a million rows of detail.

    python -m tests.bench.workbooks                       # 200 workbooks of 2,000 rows, then one of 1,000,000
    python -m tests.bench.workbooks --teams 20 --rows 500 --large 0
"""  # fmt: skip

from __future__ import annotations

import argparse
import resource
import time

import duckdb

from pipelines.render import workbook
from pipelines.render.team import Team
from tests.unit.test_render import company

DAYS, PROJECTS = 25, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teams", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2_000, help="rows of Detail in each workbook")
    parser.add_argument("--large", type=int, default=1_000_000, help="rows of Detail in one more workbook; 0 leaves it out")
    chosen = parser.parse_args()
    many(chosen.teams, chosen.rows)
    if chosen.large:
        large(chosen.large)


def many(teams: int, rows: int) -> None:
    con = _published(rows, teams)
    names = [team for (team,) in con.execute("select distinct team_id from statements where period = '2026-10' and team_id like 'team-%' order by 1").fetchall()]
    workbook.team(con, period="2026-10", version=0, team_id=names[0])  # what is loaded once is not counted
    before, cpu, wall, size = _peak(), time.process_time(), time.perf_counter(), 0
    for name in names:
        size += len(workbook.team(con, period="2026-10", version=0, team_id=name))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{len(names)} workbooks of {rows:,} rows: {cpu:.1f} CPU s ({cpu / len(names):.3f} each), {wall:.1f} s wall, {size / 1e6:.1f} MB; memory grew by {_peak() - before:.0f} MB")


def large(rows: int) -> None:
    con = _published(rows, 1)
    before, cpu, wall = _peak(), time.process_time(), time.perf_counter()
    made = Team(con, "2026-10", 0, "team-0", limit=rows + DAYS)
    size = len(made.workbook())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"one workbook of {made.detail.count:,} rows: {cpu:.1f} CPU s, {wall:.1f} s wall, {size / 1e6:.1f} MB; memory grew by {_peak() - before:.0f} MB")


def _published(rows: int, teams: int) -> duckdb.DuckDBPyConnection:
    """Hand-made tables whose teams have about `rows` rows of detail each, in the order in which they are published."""
    con = company(days=DAYS, projects=PROJECTS, applications=rows // DAYS // PROJECTS, more_teams=teams)
    for name, order in (("ledger", "period, team_id, usage_date, ledger_id"), ("shared_costs", "all"), ("cost_changes", "all"), ("recovery", "all")):
        con.execute(f"create table ordered as from {name} order by {order}")
        con.execute(f"drop {'table' if name == 'ledger' else 'view'} {name}; alter table ordered rename to {name}")
    return con


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
