"""A company that lands its clouds' own bills in place of FOCUS gets the same charges and the same ledger."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs, sample
from pipelines.home import Home
from pipelines.sample.arrivals import bill_deliveries
from tests.closing import without_reports
from tests.conftest import quiet
from tests.unit.test_cloud_bills import csv_text, cur_row, gcp_row

THROUGH = date(2026, 9, 18)  # bills of every vendor are there
TRUTH = sample.Truth.make(scale=0.01)
CHARGES = """
select provider, usage_date, charge_category, model, sku_meter, sum(billed_cost), sum(effective_cost), sum(list_cost),
    sum(consumed_quantity)
from charges where provider in ('aws', 'google') group by all order by all
"""
LEDGER = "select team_id, activity, model, sum(effective_cost), sum(chargeback_cost) from ledger group by all order by all"


def night(home: Home) -> tuple[list[tuple[Any, ...]], ...]:
    assert jobs.nightly(home, THROUGH, quiet).refused == []
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(CHARGES).fetchall(), con.execute(LEDGER).fetchall()


def make(root: Path) -> Home:
    sample.install(root)
    sample.write(root, THROUGH, TRUTH)
    return Home(root)


def in_native_formats(home: Home) -> None:
    """AWS as CUR 2.0 with its manifest, Google as rows of its export."""
    path = home.policy / "sources.yaml"
    text = path.read_text()
    for name, format_ in (("aws", "aws_cur"), ("google", "gcp_billing")):
        assert f"- name: {name}\n    format: focus" in text
        text = text.replace(f"- name: {name}\n    format: focus", f"- name: {name}\n    format: {format_}")
        shutil.rmtree(home.landing / "billing" / name)
        (home.landing / "billing" / name).mkdir()
    path.write_text(text)
    for delivery in bill_deliveries(TRUTH):
        if delivery.arrives > THROUGH + timedelta(days=1):  # what the sample writes for that night
            continue
        if delivery.provider == "google":
            rows = "".join(json.dumps(gcp_row(line)) + "\n" for line in delivery.lines)
            (home.landing / "billing" / "google" / f"{delivery.arrives}.jsonl").write_text(rows)
        if delivery.provider == "aws":
            run = f"BILLING_PERIOD={delivery.start:%Y-%m}/{delivery.arrives:%Y%m%d}T000000Z-1"
            data, metadata = (home.landing / "billing" / "aws" / "cur" / part / run for part in ("data", "metadata"))
            data.mkdir(parents=True)
            metadata.mkdir(parents=True)
            (data / "cur.csv").write_text(csv_text([cur_row(line) for line in delivery.lines]))
            manifest = {
                "exportArn": "arn:aws:bcm-data-exports:us-east-1:111122223333:export/cur",
                "executionId": run.split("/")[1],
                "billingPeriod": {"start": f"{delivery.start}T00:00:00Z"},
                "dataFiles": [f"s3://bucket/exports/cur/data/{run}/cur.csv"],
            }
            (metadata / "cur-Manifest.json").write_text(json.dumps(manifest))


def test_native_bills_give_the_same_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_reports(monkeypatch)
    home = make(tmp_path / "native")
    in_native_formats(home)
    charges, ledger = night(home)
    assert {row[0] for row in charges} == {"aws", "google"} and len(ledger) > 20
    assert (charges, ledger) == night(make(tmp_path / "focus"))
