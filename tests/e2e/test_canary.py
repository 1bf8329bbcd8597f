"""Prompts never enter: what stands in a prompt, an answer, an unknown field or a bad line of any gateway is nowhere afterwards."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from pipelines import definitions, jobs, landing, sample, warehouse
from pipelines.books import Arrivals, Books
from pipelines.home import Home
from pipelines.sources import registry
from tests.formats import Sample, samples

THROUGH = date(2026, 9, 12)
BODIES = ("messages", "response", "prompt", "completion", "input", "output", "request_body", "response_body", "body", "an unknown field")
SECRETS = (sample.CANARY.encode(), json.dumps(sample.CANARY).encode()[1:-1])


def planted(valid: Sample) -> bytes:
    """The file with the canary in more places of each record than the gateway has, and lines that are none."""
    if not valid.lines:
        head, *rows = valid.data.decode().splitlines()
        bad = ",".join([sample.CANARY] * len(head.split(",")))
        return "\n".join([f"{head},{sample.CANARY}", *(f"{row},{sample.CANARY}" for row in rows), f"{bad},{sample.CANARY}"]).encode()
    lines = []
    for n, text in enumerate(valid.data.decode().splitlines()):
        record: dict[str, Any] = json.loads(text)
        for name in BODIES:
            record.setdefault(name, {"content": sample.CANARY} if n % 2 else sample.CANARY)
        record[f"{sample.CANARY} as a name"] = 1
        lines.append(json.dumps(record))
    cut = lines[0][: lines[0].rindex(sample.CANARY) + len(sample.CANARY)]
    return "\n".join([*lines, cut, json.dumps([sample.CANARY]), json.dumps(sample.CANARY), f"{sample.CANARY} \ufffd", '{"id": "' + sample.CANARY]).encode()


def leaks(folder: Path) -> list[str]:
    """Files and names below the folder that hold the canary; gzip is unpacked, Parquet and DuckDB are read as values."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        hits = [secret for secret in SECRETS if secret in data or secret in str(path).encode()]
        if path.suffix == ".parquet":
            with duckdb.connect() as con:
                sql = "select count(*) from (select to_json(t)::varchar as row from read_parquet(?) t) where contains(row, ?)"
                hits += [True] * con.execute(sql, [str(path), sample.CANARY]).fetchall()[0][0]
        if path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as con:
                for (table,) in con.execute("select table_name from duckdb_tables()").fetchall():
                    sql = f'select count(*) from (select to_json(t)::varchar as row from "{table}" t) where contains(row, ?)'
                    hits += [True] * con.execute(sql, [sample.CANARY]).fetchall()[0][0]
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as book:
                hits += [True for name in book.namelist() if SECRETS[0] in book.read(name)]
        if hits:
            found.append(str(path.relative_to(folder)))
    return found


def in_objects(value: Any) -> Any:
    """The JSON value with the canary as a field, and as the name of one, in every object of it."""
    if isinstance(value, list):
        return [in_objects(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: in_objects(held) for name, held in value.items()} | {"prompt": sample.CANARY, sample.CANARY: 1}


def planted_beside(valid: Sample) -> bytes:
    """The file with the canary in fields that nobody knows, and nothing else changed."""
    text = valid.data.decode("utf-8-sig")
    if valid.name.endswith(".json"):
        return json.dumps(in_objects(json.loads(text))).encode()
    if valid.name.endswith(".jsonl"):
        return "".join(json.dumps(in_objects(json.loads(line))) + "\n" for line in text.splitlines() if line).encode()
    made = io.StringIO()
    csv.writer(made, lineterminator="\n").writerows([*row, sample.CANARY] for row in csv.reader(io.StringIO(text)))
    return made.getvalue().encode()


OTHERS = [name for name, module in registry.READERS.items() if ".gateway." not in module]
FIXED = ("sacct", "focus", "drivers_csv")  # Slurm's columns have no names; the first FOCUS file is Parquet; other columns of drivers are keys


@pytest.mark.parametrize("name", OTHERS)
def test_unknown_fields_and_damage_of_bills_and_usage_leave_no_trace(tmp_path: Path, name: str) -> None:
    """Bills, usage reports, GPUs, drivers: landed with unknown fields, cut off within them, and with a bad line at the end."""
    valid, home = samples()[name], Home(tmp_path)
    folder = home.landing / valid.kind / "s"
    beside = valid.data if name in FIXED else planted_beside(valid)
    files = {"beside": beside, "bad-line": beside + b"\n" + SECRETS[0] + b"\n"}
    for n in range(1, 4):
        files[f"cut-{n}"] = beside[: beside.find(SECRETS[0], len(beside) * n // 5) + len(SECRETS[0])]
    for path, data in files.items():
        (folder / path).mkdir(parents=True)
        (folder / path / valid.name).write_bytes(data)
        if valid.listed:
            (folder / path / "x-Manifest.json").write_bytes(valid.manifest(path))
    said: list[str] = []
    with warehouse.open_warehouse(home) as con:
        report = landing.land(con, home, valid.sources(), THROUGH, Arrivals(Books(home), con, THROUGH), said.append)
        found = con.execute("select sum(good) from source_files where path like '%/beside/%' and state = 'landed'").fetchall()
    assert found[0][0] and not any(sample.CANARY in str(line) for line in (*report.refused, *report.held, *report.waiting, *said))
    shutil.rmtree(home.landing)
    assert any(tmp_path.rglob("*.parquet"))
    assert leaks(tmp_path) == []


def test_a_planted_text_is_nowhere_after_the_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, storage = Home(tmp_path / "home"), tmp_path / "dagster"
    storage.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(storage))
    sample.install(home.root)
    sample.write(home.root, THROUGH, sample.Truth.make(scale=0.01))
    entries = []
    said: list[str] = []
    for name, valid in samples().items():
        if valid.kind != "gateway":
            continue
        entry = {key: said for key, said in valid.entry.items() if key not in ("name", "format", "accounts", "serving")}
        entries.append({"name": f"planted-{name.replace('_', '-')}", "format": name, **entry})
        folder = home.landing / "gateway" / entries[-1]["name"]
        folder.mkdir(parents=True)
        (folder / valid.name).write_bytes(planted(valid))
        (folder / f"packed-{valid.name}.gz").write_bytes(gzip.compress(planted(valid)[:-9]))
        (folder / f"cut-{valid.name}.gz").write_bytes(gzip.compress(planted(valid))[:-9])
    assert {entry["format"] for entry in entries} == {name for name, module in registry.READERS.items() if ".gateway." in module}
    sources = home.policy / "sources.yaml"
    text = sources.read_text()
    assert text.count("\ngateways:\n") == 1
    sources.write_text(text.replace("\ngateways:\n", "\ngateways:\n" + "".join(f"  - {json.dumps(entry)}\n" for entry in entries)))
    config = {"resources": {"run": {"config": {"home": str(home.root), "through": THROUGH.isoformat()}}}}
    night = definitions.defs.resolve_job_def("nightly")
    assert night.execute_in_process(run_config=config, instance=dg.DagsterInstance.get()).success
    outcome = jobs.nightly(home, THROUGH, said.append)
    assert sum("cut-" in str(line) for line in outcome.refused) == len(entries)
    assert not any(sample.CANARY in str(line) for line in (*outcome.refused, *said))
    with duckdb.connect(str(home.current), read_only=True) as con:
        landed = con.execute("select count(distinct source) from source_files where source like 'planted-%' and good > 0").fetchall()
        assert landed == [(len(entries),)]
        assert con.execute("select count(*) > 30 from quarantine where source like 'planted-%'").fetchall() == [(True,)]
    assert leaks(home.landing / "gateway" / "litellm-prod")  # it is found where it is
    shutil.rmtree(home.landing)
    assert any(storage.rglob("*"))
    assert leaks(tmp_path) == []
