"""Sets of files: what a manifest lists arrives as one delivery, whole or not yet, and a newer set replaces an older one."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from pipelines import landing
from pipelines.books import Arrivals, Books
from pipelines.home import Home
from pipelines.sources import Delivery, Format, Manifest, Manifests, registry
from pipelines.sources.billing.manifests import read_manifest
from pipelines.sources.reading import create_parsed
from tests.conftest import quiet


def _read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """Each line of the set's files is a currency with a rate of one."""
    lines = [line for path in delivery.paths for line in path.read_text().split()]
    select = "select '2026-10' as period, unnest($lines::varchar[]) as currency, 1 as rate, 'test' as rate_source, 1 as source_row"
    create_parsed(con, "fx", select, {"lines": lines})


def _manifest(text: str) -> Manifest:
    try:
        said = json.loads(text)
        return Manifest(tuple(map(tuple, said["files"])), said["scope"], said["version"])
    except (KeyError, TypeError):
        raise ValueError("not a manifest") from None


LISTED = Format("listed", "fx", (".csv",), _read, manifests=Manifests(("-Manifest.json",), _manifest, re.compile(r"/data/")))
PAIRED = Format("paired", "fx", (".csv",), _read, manifests=LISTED.manifests, pair=("actual", "amortized"))


class Zone:
    """A home with one source, and what a night makes of its landing folder."""

    def __init__(self, root: Path, format_: Format) -> None:
        self.home = Home(root)
        self.folder = self.home.landing / "fx" / "vendor"
        self.con = duckdb.connect()
        self.sources = SimpleNamespace(fx=[SimpleNamespace(name="vendor", format=format_.name)])

    def put(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def manifest(self, name: str, *files: Any, scope: str = "s", version: str = "") -> Path:
        listed = [file if isinstance(file, tuple) else (file, None) for file in files]
        return self.put(f"{name}-Manifest.json", json.dumps({"files": listed, "scope": scope, "version": version}))

    def night(self) -> landing.LandingReport:
        arrivals = Arrivals(Books(self.home), self.con, date(2026, 10, 5))
        return landing.land(self.con, self.home, self.sources, date(2026, 10, 5), arrivals, quiet)

    def deliveries(self) -> list[list[str]]:
        """The currencies of each landed delivery, in order of arrival."""
        files = self.con.execute("select lake_file from source_files where state = 'landed' order by seq").fetchall()
        lake = [str(self.home.lake / row[0]) for row in files]
        return [sorted(row[0] for row in self.con.execute("select currency from read_parquet(?)", [file]).fetchall()) for file in lake]

    def states(self) -> dict[str, str]:
        rows = self.con.execute("select path, state from source_files order by seq nulls last").fetchall()
        return {path.removeprefix("fx/vendor/"): state for path, state in rows}


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zone:
    return _zone(tmp_path, monkeypatch, LISTED)


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zone:
    return _zone(tmp_path, monkeypatch, PAIRED)


def _zone(root: Path, monkeypatch: pytest.MonkeyPatch, format_: Format) -> Zone:
    monkeypatch.setattr(registry, "find", {format_.name: format_}.__getitem__)
    return Zone(root, format_)


def test_a_set_waits_for_its_manifest_and_lands_once(zone: Zone) -> None:
    zone.put("data/a.csv", "EUR\n")
    zone.put("data/b.csv", "USD\n")
    report = zone.night()
    assert report.new == 0 and len(report.waiting) == 2 and "data/a.csv: no manifest lists it" in report.waiting[0]
    zone.manifest("metadata/x", "s3://bucket/prefix/data/a.csv", "s3://bucket/prefix/data/b.csv")
    report = zone.night()
    assert (report.new, report.waiting, report.refused) == (1, [], [])
    assert zone.deliveries() == [["EUR", "USD"]]
    assert zone.states() == {"data/a.csv": "landed", "data/b.csv": "page", "metadata/x-Manifest.json": "page"}
    assert zone.night().new == 0


def test_a_missing_file_is_named_and_the_set_waits(zone: Zone) -> None:
    zone.put("data/a.csv", "EUR\n")
    zone.put("other/data/b.csv", "CHF\n")  # the same name in another set's folder is not it
    zone.manifest("metadata/x", "data/a.csv", "data/b.csv")
    report = zone.night()
    assert report.new == 0
    assert any("x-Manifest.json: the manifest lists b.csv, which is not here yet" in line for line in report.waiting)
    zone.put("data/b.csv", "USD\n")
    assert zone.night().new == 1 and zone.deliveries() == [["EUR", "USD"]]


def test_an_extra_file_is_not_read_and_is_said(zone: Zone) -> None:
    zone.put("data/a.csv", "EUR\n")
    zone.put("data/stray.csv", "GBP\n")
    zone.put("alone.csv", "JPY\n")  # not where sets are: a delivery of its own
    zone.manifest("data/x", "a.csv")
    report = zone.night()
    assert report.new == 2 and sorted(zone.deliveries()) == [["EUR"], ["JPY"]]
    assert report.waiting == ["fx/vendor/data/stray.csv: no manifest lists it; it waits for the one that does"]


def test_a_file_of_another_size_waits(zone: Zone) -> None:
    path = zone.put("data/a.csv", "EUR\n")
    zone.manifest("data/x", ("a.csv", 8))
    assert "a.csv has 4 bytes, and the manifest says 8" in zone.night().waiting[0]
    path.write_text("EUR\nUSD\n")
    assert zone.night().new == 1 and zone.deliveries() == [["EUR", "USD"]]


def test_a_rewritten_file_waits_for_the_rewritten_manifest(zone: Zone) -> None:
    zone.put("data/a.csv", "EUR\n")
    zone.manifest("data/x", "a.csv", version="20261001")
    assert zone.night().new == 1
    zone.put("data/a.csv", "CHF\n")
    report = zone.night()
    assert report.new == 0 and "data/a.csv changed after its manifest was written" in report.waiting[0]
    zone.manifest("data/x", "a.csv", version="20261002")
    assert zone.night().new == 1 and zone.deliveries() == [["EUR"], ["CHF"]]
    zone.put("data/a.csv", "EUR\n")  # the first content again, said by a new manifest: the newest counts
    zone.manifest("data/x", "a.csv", version="20261003")
    assert zone.night().new == 1 and zone.deliveries()[-1] == ["EUR"]


def test_a_newer_run_supersedes_whatever_the_order_of_arrival(zone: Zone) -> None:
    for run, currency in (("2", "CHF"), ("1", "EUR")):
        zone.put(f"data/{run}/a.csv", f"{currency}\n")
        zone.manifest(f"data/{run}/x", f"s3://b/data/{run}/a.csv", version=f"2026100{run}")
    report = zone.night()
    assert (report.new, report.waiting) == (1, []) and zone.deliveries() == [["CHF"]]
    assert zone.states()["data/1/a.csv"] == "superseded"
    zone.put("data/3/a.csv", "USD\n")
    zone.manifest("data/3/x", "data/3/a.csv", "data/3/b.csv", version="20261003")
    assert zone.night().new == 0 and zone.deliveries() == [["CHF"]]  # a newer one that is not whole replaces nothing
    zone.put("data/3/b.csv", "GBP\n")
    assert zone.night().new == 1 and zone.deliveries() == [["CHF"], ["GBP", "USD"]]


def test_sets_of_other_scopes_and_copies_of_a_manifest(zone: Zone) -> None:
    zone.put("data/sep/a.csv", "EUR\n")
    zone.put("data/oct/a.csv", "CHF\n")
    zone.manifest("data/sep/x", "sep/a.csv", scope="sep", version="2")
    zone.manifest("data/oct/x", "oct/a.csv", scope="oct", version="1")
    zone.manifest("data/top", "oct/a.csv", scope="oct", version="1")
    report = zone.night()
    assert report.new == 2 and sorted(zone.deliveries()) == [["CHF"], ["EUR"]] and report.waiting == []
    assert set(zone.states().values()) == {"landed", "page"} and zone.night().new == 0


def test_a_manifest_that_cannot_be_read_is_refused(zone: Zone) -> None:
    zone.put("data/a.csv", "EUR\n")
    path = zone.manifest("data/x", "a.csv")
    for broken in (path.read_text()[:-9], "[]", '{"files": [["../../../etc/passwd", 1]]}', "[" * 100_000, "\ufeff", "{}"):
        path.write_text(broken)
        report = zone.night()
        assert report.new == 0 and len(report.refused) == 1 and "x-Manifest.json" in str(report.refused[0])
    zone.manifest("data/x", "../../../../etc/passwd")
    assert "lists passwd, which is not here" in " ".join(zone.night().waiting)


def test_two_datasets_of_one_cost_arrive_together(pairs: Zone) -> None:
    pairs.put("2026-10_actual.csv", "EUR\n")
    pairs.put("2026-09_Amortized.csv", "JPY\n")
    pairs.put("plain.csv", "GBP\n")
    report = pairs.night()
    assert pairs.deliveries() == [["GBP"]] and len(report.waiting) == 2
    assert any("2026-10_actual.csv: its amortized cost is not here yet" in line for line in report.waiting)
    pairs.put("2026-10_amortized.csv", "CHF\n")
    assert pairs.night().new == 1 and pairs.deliveries()[-1] == ["CHF", "EUR"]


def test_pairs_of_listed_sets_take_the_newest_run_of_each(pairs: Zone) -> None:
    run = "0a1b2c3d-1111-4222-8333-44445555666{}"
    for number, (word, currency) in enumerate((("actual", "EUR"), ("actual", "USD"), ("amortized", "CHF"))):
        folder = f"{word}/20261001-20261031/{run.format(number)}"
        pairs.put(f"{folder}/data/part.csv", f"{currency}\n")
        pairs.manifest(f"{folder}/x", "data/part.csv", scope=word, version=str(number))
    report = pairs.night()
    assert (report.new, report.waiting) == (1, []) and pairs.deliveries() == [["CHF", "USD"]]


AWS = {"exportArn": "arn:x", "executionId": "20261020T000000Z-1", "billingPeriod": {"start": "2026-10-01"}, "dataFiles": ["s3://b/x.csv"]}
LEGACY = {"assemblyId": "9992", "reportName": "cur", "billingPeriod": {"start": "20261001T000000.000Z"}, "reportKeys": ["r/x.csv.gz"]}
AZURE = {
    "exportConfig": {"exportName": "e", "type": "ActualCost"},
    "runInfo": {"startDate": "2026-10-01T00:00:00", "submittedTime": "2026-10-05T01:00:00Z", "runId": "r"},
    "blobs": [{"blobName": "root/e/part_0_0001.csv", "byteCount": 17}],
}


def test_the_manifests_of_billing_exports() -> None:
    assert read_manifest(json.dumps(AWS)) == Manifest((("s3://b/x.csv", None),), "arn:x\x002026-10-01", "20261020T000000Z-1")
    assert read_manifest(json.dumps(LEGACY)) == Manifest((("r/x.csv.gz", None),), "cur\x0020261001T000000.000Z", "")
    azure = read_manifest(json.dumps(AZURE))
    assert azure.files == (("root/e/part_0_0001.csv", 17),) and azure.version == "2026-10-05T01:00:00Z"
    for broken in ("[]", "3", "{}", json.dumps({**AWS, "dataFiles": [3]}), json.dumps({**AWS, "billingPeriod": []}), "NaN"):
        with pytest.raises(ValueError):
            read_manifest(broken)
