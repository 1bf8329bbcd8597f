"""A newer price list changes nothing that is rated until somebody asks, is compared in dollars, and never touches a closed month."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import jobs, prices, snapshots
from pipelines.errors import Refused
from pipelines.home import Home
from tests.closing import without_files
from tests.conftest import command, quiet
from tests.e2e.test_whatif import files

THROUGH = date(2026, 10, 31)
CHANGED, UNUSED = ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-3-haiku")


def newer(home: Home, day: str) -> None:
    """A snapshot in which output of two models costs twice as much."""
    folder = Path(shutil.copytree(prices.newest(home.list_prices), home.list_prices / day))
    rows = [
        row | {"output": row["output"] * 2, "reasoning": row["reasoning"] * 2} if (row["provider"], row["model"]) in (CHANGED, UNUSED) and row["output"] else row
        for row in pq.read_table(folder / "rates.parquet").to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(rows, prices.RATES), folder / "rates.parquet")


def costs(home: Home) -> dict[tuple[str, str, str], Decimal]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        rows = con.execute(
            "select strftime(usage_date, '%Y-%m'), provider, model, sum(contracted_cost)::decimal(38, 12) from usage_daily"
            " where serving_pool is null and model is not null group by all"
        ).fetchall()
    return {row[:3]: row[3] for row in rows}


def output_cost(home: Home, first: str, last: str) -> Decimal:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(
            "select sum((output_tokens + reasoning_tokens) * r.list_output)::decimal(38, 12) from usage_events u join rates r using (rate_id)"
            f" where u.provider = '{CHANGED[0]}' and u.model = '{CHANGED[1]}' and u.usage_date between '{first}' and '{last}'"
        ).fetchall()[0][0]


def test_compared_in_dollars_then_applied_on_request(company_copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    without_files(monkeypatch)
    newer(company_copy, "2026-11-30")
    before, was = files(company_copy), costs(company_copy)
    added = output_cost(company_copy, "2026-10-20", "2026-10-31")
    found = snapshots.compare(company_copy, "2026-11-30", date(2026, 10, 20), quiet)
    assert files(company_copy) == before
    assert [(row["period"], row["provider"], row["model"]) for row in found["models"]] == [("2026-10", *CHANGED)]
    assert found["models"][0]["difference"] == found["models"][0]["list_cost_then"] - found["models"][0]["list_cost_now"] == added > 0
    assert "apportion prices apply 2026-11-30 --from 2026-10-20" in snapshots.text(found)
    jobs.nightly(company_copy, THROUGH, quiet)
    assert costs(company_copy) == was
    snapshots.apply(company_copy, "2026-11-30", date(2026, 10, 20))
    jobs.nightly(company_copy, THROUGH, quiet)
    is_now = costs(company_copy)
    assert {key: cost - was[key] for key, cost in is_now.items() if cost != was[key]} == {("2026-10", *CHANGED): added}
    assert snapshots.compare(company_copy, "2026-11-30", date(2026, 10, 20), quiet)["models"] == []
    with duckdb.connect(str(company_copy.current), read_only=True) as con:
        told = con.execute("select distinct recorded_at from rates where model = 'claude-sonnet-4-5' and provider = 'anthropic' order by all").fetchall()
    assert told == [(date(2026, 11, 24),), (date(2026, 11, 30),)]


def test_a_closed_month_keeps_its_prices(company_copy: Home) -> None:
    newer(company_copy, "2026-11-30")
    for call in (lambda: snapshots.apply(company_copy, "2026-11-30", date(2026, 9, 30)), lambda: snapshots.compare(company_copy, None, date(2026, 9, 1), quiet)):
        with pytest.raises(Refused, match=r"2026-09-\d\d is in a closed month; closed months keep their prices; choose 2026-10-01 or later"):
            call()
    found = snapshots.compare(company_copy, None, None, quiet)
    assert found["from"] == "2026-10-01" and {row["period"] for row in found["models"]} == {"2026-10"}
    with pytest.raises(Refused, match="no snapshot is called 2030-01-01; choose one of 2026-11-24, 2026-11-30"):
        snapshots.apply(company_copy, "2030-01-01", date(2026, 10, 1))
    with pytest.raises(Refused, match="2026-11-24 is the first snapshot"):
        snapshots.apply(company_copy, "2026-11-24", date(2026, 10, 1))
    assert not (company_copy.list_prices / prices.APPLIED).exists()


def apportion(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    return command("prices", *words, "--home", str(home.root))


def test_the_commands(company_copy: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("genai_prices")
    without_files(monkeypatch)
    first = prices.newest(company_copy.list_prices)
    same = apportion(company_copy, "refresh")
    assert (same.returncode, same.stderr) == (0, "") and f"nothing new: the installed genai-prices says what the snapshot of {first.name} says" in same.stdout
    old = first.rename(company_copy.list_prices / "2020-01-01")
    rows: list[dict[str, Any]] = pq.read_table(old / "rates.parquet").to_pylist()
    halved = [row | {"output": row["output"] / 2} if (row["provider"], row["model"]) == CHANGED and row["output"] else row for row in rows]
    pq.write_table(pa.Table.from_pylist(halved, prices.RATES), old / "rates.parquet")
    jobs.nightly(company_copy, THROUGH, quiet)
    before = datetime.now().date()
    made = apportion(company_copy, "refresh")
    assert made.returncode == 0, made.stderr
    added = prices.newest(company_copy.list_prices)
    assert added.name >= f"{before}" and f"added data/list_prices/{added.name}/" in made.stdout
    assert "anthropic claude-sonnet-4-5" in made.stdout and f"apportion prices apply {added.name} --from 2026-10-01" in made.stdout
    told = json.loads(apportion(company_copy, "compare", "--from", "2026-10-15", "--json").stdout)
    assert told["snapshot"] == added.name and [row["model"] for row in told["models"]] == ["claude-sonnet-4-5"]
    again = apportion(company_copy, "refresh")
    assert again.returncode == 1 and "this day has a snapshot already" in again.stderr and again.stderr.count("\n") == 1
    done = apportion(company_copy, "apply", added.name, "--from", "2026-10-31")
    assert done.returncode == 0 and json.loads((company_copy.list_prices / prices.APPLIED).read_text()) == {added.name: "2026-10-31"}
    (tmp_path / "genai_prices.py").write_text("raise ImportError\n")
    refresh = [sys.executable, "-m", "pipelines", "prices", "refresh", "--home", str(company_copy.root)]
    missing = subprocess.run(refresh, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=False)
    assert missing.returncode == 1 and missing.stderr == "prices refresh: genai-prices is not installed; pip install 'apportion[list-prices]'\n"
