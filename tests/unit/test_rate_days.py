"""A day is the same file and the same rollup whether it was held with others or written straight away."""

from datetime import date
from itertools import pairwise

import pytest

from pipelines import rate
from pipelines.home import Home
from pipelines.rate import LARGE_DAY, Day
from pipelines.run import open_run

ROLLUP = "select md5(string_agg(u::varchar, '' order by u::varchar)) from usage_daily u where usage_date = ?"


def test_a_large_day_is_written_alike(company_copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(company_copy, date(2026, 10, 31), lambda _: None) as run:
        scope = run.scopes()[-1]
        (day,) = run.con.execute("select max(usage_date) from usage_days").fetchall()[0]
        monkeypatch.setattr(rate, "_changed_days", lambda *_: [Day(day, "again", 1)])
        files, rows, rollups = [], [], []
        for large in (LARGE_DAY, 1, 1):
            monkeypatch.setattr(rate, "LARGE_DAY", large)
            rate.rate(run, [scope])
            files += run.con.execute("select lake_file from usage_days where usage_date = ?", [day]).fetchall()
            rows.append(run.con.execute("from read_parquet(?)", [str(company_copy.lake / files[-1][0])]).fetchall())
            rollups.append(run.con.execute(ROLLUP, [day]).fetchall())
    assert rows[0] == rows[1] and len(rows[0]) > 1
    assert rollups[0] == rollups[1]
    assert files[1] == files[2]


def test_large_days_stand_alone_in_order() -> None:
    days = [Day(date(2026, 10, n), "", rows) for n, rows in ((1, 10), (2, LARGE_DAY), (3, 10), (4, 10))]
    batches = list(rate._batches(days))
    assert sorted(day.day.day for batch in batches for day in batch) == [1, 2, 3, 4]
    assert [day.day.day for batch in batches if len(batch) == 1 for day in batch] == [2]
    assert all(a.day < b.day for batch in batches for a, b in pairwise(batch))
