"""FOCUS metadata beside the data: told of, never refused, and a file that contradicts it is refused with the difference."""

from __future__ import annotations

import gzip
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import landing
from pipelines.home import Home
from pipelines.policy.files import Sources
from pipelines.warehouse import memory
from tests.unit.test_landing_gateways import Seen

ROW = {
    "BilledCost": "1.5", "EffectiveCost": "1.5", "BillingAccountId": "acct", "BillingCurrency": "USD", "BillingPeriodStart": "2026-10-01T00:00:00Z",
    "BillingPeriodEnd": "2026-11-01T00:00:00Z", "ChargeCategory": "Usage", "ChargePeriodStart": "2026-10-05T00:00:00Z",
    "ChargePeriodEnd": "2026-10-06T00:00:00Z", "ServiceName": "AmazonBedrock", "ProviderName": "AWS",
}  # fmt: skip
HEADER = list(ROW)
EXPORT = f"{','.join(HEADER)}\n{','.join(ROW.values())}\n"


def schema(name: str = "a", version: str = "1.2", columns: list[str] | None = None, **more: Any) -> dict[str, Any]:
    listed = [{"ColumnName": column, "DataType": "STRING"} for column in (HEADER if columns is None else columns)]
    return {"SchemaId": name, "FocusVersion": version, "CreationDate": "2026-01-01T00:00:00Z", "ColumnDefinition": listed, **more}


class Export:
    """A home into which an export is put, and what a night says of its files."""

    def __init__(self, root: Path, con: duckdb.DuckDBPyConnection) -> None:
        self.home, self.con, self.seen = Home(root), con, Seen()

    def put(self, name: str, content: Any) -> None:
        path = self.home.landing / "billing" / "s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    def night(self) -> dict[str, tuple[str, str | None]]:
        entry = {"name": "s", "format": "focus", "provider": "aws", "legal_entity": "E"}
        landing.land(self.con, self.home, Sources(version=1, billing=[entry]), date(2026, 11, 9), self.seen, lambda _: None)  # type: ignore[arg-type]
        rows = self.con.execute("select path, state, reason from source_files").fetchall()
        return {path.removeprefix("billing/s/"): (state, reason) for path, state, reason in rows}


@pytest.fixture
def export(tmp_path: Path) -> Any:
    with memory() as con:
        yield Export(tmp_path, con)


def test_metadata_is_told_of_and_the_data_beside_it_lands(export: Export) -> None:
    export.put("data/a.csv", EXPORT)
    export.put("metadata/schemas/schema-a.json", schema("a\n"))
    export.put("metadata/data_generator.json", {"DataGenerator": {"DataGenerator": "vendor"}, "Schema": [schema("b"), schema("c", Dataset="ContractCommitment")]})
    said = export.night()
    assert said["data/a.csv"][0] == "landed"
    assert said["metadata/schemas/schema-a.json"] == ("metadata", f"schema a of FOCUS 1.2, {len(HEADER)} columns")
    assert said["metadata/data_generator.json"] == ("metadata", f"schema b of FOCUS 1.2, {len(HEADER)} columns")
    assert export.night() == said


def test_metadata_that_comes_later_makes_no_bill_new(export: Export) -> None:
    export.put("a.csv", EXPORT)
    export.night()
    before = export.con.execute("select delivery_id, seq from source_files").fetchall()
    export.put("focus-metadata.json", schema())
    export.night()
    assert export.con.execute("select delivery_id, seq from source_files where state = 'landed'").fetchall() == before


CONTRADICTIONS = [
    (schema(columns=[*HEADER, "Weight", "x_Colour"]), "column Weight is missing (and x_Colour), which schema a of FOCUS 1.2 beside it declares"),
    (schema(version="1.4", columns=[]), "column ServiceProviderName is missing"),
    (schema(version="2.0"), "the schema beside it is of FOCUS 2.0, and 1.0 to 1.5 are read"),
]


@pytest.mark.parametrize(("metadata", "words"), CONTRADICTIONS, ids=["columns", "version", "unknown"])
def test_a_file_that_fits_no_schema_is_refused_with_the_difference(export: Export, metadata: dict[str, Any], words: str) -> None:
    export.put("october/a.csv", EXPORT)
    export.put("october/metadata.json", metadata)
    export.put("september/a.csv", EXPORT.replace("2026-10", "2026-08").replace("2026-11", "2026-09"))
    said = export.night()
    assert said["october/a.csv"][0] == "refused" and words in str(said["october/a.csv"][1])
    assert said["september/a.csv"][0] == "landed"  # another folder


def test_a_parquet_file_is_compared_too(export: Export) -> None:
    export.put("a.csv", EXPORT)
    for name in ("right", "wrong"):
        export.put(f"{name}/metadata.json", schema(columns=HEADER if name == "right" else [*HEADER, "x_Colour"]))
        folder = export.home.landing / "billing" / "s"
        export.con.execute(f"copy (select *, '{name}' as x_Name from read_csv('{folder}/a.csv', all_varchar = true)) to '{folder}/{name}/a.parquet'")
    (folder / "a.csv").unlink()
    said = export.night()
    assert said["right/a.parquet"][0] == "landed" and "x_Colour is missing" in str(said["wrong/a.parquet"][1])


def test_a_file_fits_the_schema_of_its_time(export: Export) -> None:
    export.put("a.csv", EXPORT)
    export.put("metadata/schema-b.json", schema("b", columns=[*HEADER, "x_New"], CreationDate="2026-12-01T00:00:00Z"))
    assert "x_New is missing" in str(export.night()["a.csv"][1])
    export.put("metadata/schema-a.json", schema())
    os.utime(export.home.landing / "billing/s/a.csv")
    assert export.night()["a.csv"][0] == "landed"


@pytest.mark.parametrize("text", ["{", "[]", '{"anything": 1}', '{"Schema": [5]}', '{"ColumnDefinition": [{}]}', '{"ColumnDefinition": 5}'])
def test_json_that_is_neither_is_named_and_stops_nothing(export: Export, text: str) -> None:
    export.put("a.csv", EXPORT)
    export.put("notes.json", text)
    said = export.night()
    assert said["a.csv"][0] == "landed" and said["notes.json"][0] == "refused" and "neither a manifest nor metadata" in str(said["notes.json"][1])


def test_a_damaged_gzip_file_is_named_and_stops_nothing(export: Export) -> None:
    export.put("a.csv", EXPORT)
    packed = bytearray(gzip.compress(json.dumps(schema()).encode() * 9))
    packed[12:24] = bytes(255 - byte for byte in packed[12:24])
    for name in ("notes.json.gz", "manifest.json.gz"):
        (export.home.landing / "billing/s" / name).write_bytes(packed)
    said = export.night()
    assert [said[name][0] for name in ("a.csv", "notes.json.gz", "manifest.json.gz")] == ["landed", "refused", "refused"]
