"""A folder of one-object files is one delivery a night, and every file of it is still accounted for."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import landing, small_files
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.policy.files import Sources
from pipelines.sources import registry
from pipelines.warehouse import memory, open_warehouse
from tests.conftest import quiet
from tests.unit.test_landing_gateways import NIGHT, Seen, spend_log

MANY = small_files.MANY


class Folder:
    """A home with one gateway source whose folder fills with small files."""

    def __init__(self, root: Path, con: duckdb.DuckDBPyConnection, format_: str = "litellm") -> None:
        self.home, self.con, self.seen = Home(root), con, Seen()
        self.folder = self.home.landing / "gateway" / "s"
        self.folder.mkdir(parents=True)
        self.sources = Sources(version=1, gateways=[{"name": "s", "format": format_}])

    def put(self, name: str, text: str | bytes) -> Path:
        data = text.encode() if isinstance(text, str) else text
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        return path

    def calls(self, first: int, count: int, folder: str = "") -> None:
        for n in range(first, first + count):
            self.put(f"{folder}{n:04}.json", json.dumps(spend_log(f"call-{n}")))

    def night(self) -> landing.LandingReport:
        return landing.land(self.con, self.home, self.sources, NIGHT, self.seen, quiet)  # type: ignore[arg-type]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def events(self) -> list[tuple[Any, ...]]:
        """event, file and line of everything that counts."""
        lake = [str(self.home.lake / row[0]) for row in self.rows("select distinct lake_file from source_files where good > 0")]
        return self.con.execute(
            "select event_id, source_file, source_row from read_parquet(?) l anti join event_losers x on x.delivery_id = l.delivery_id"
            " and x.source_file = l.source_file and x.source_row = l.source_row and x.event_id = l.event_id order by 1",
            [lake],
        ).fetchall()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with memory() as con:
        yield Folder(tmp_path, con)


def test_a_night_of_small_files_is_one_delivery_and_accounts_for_every_file(folder: Folder) -> None:
    folder.calls(0, MANY)
    two = "\n".join(["", json.dumps(spend_log("two-a")), "{bad", " ", json.dumps(spend_log("two-b"))])
    folder.put("day/two.jsonl.gz", two)
    folder.put("day/bom.json", b"\xef\xbb\xbf" + json.dumps(spend_log("bom")).encode() + b"\r\n")
    report = folder.night()
    assert (report.new, report.good, report.rejected, report.lines) == (1, MANY + 3, 1, MANY + 6)
    assert folder.rows("select count(distinct delivery_id), count(distinct lake_file), count(distinct file_sha256) from source_files") == [
        (1, 1, MANY + 2)
    ]
    assert folder.rows("select state, lines, blank, good, rejected, inserted from source_files where path like '%two%'") == [
        ("landed", 5, 2, 2, 1, 2)
    ]
    ((path, row, offset, length, reason),) = folder.rows("select path, source_row, byte_offset, byte_length, reason from quarantine")
    assert (path, row, two[offset : offset + length], reason) == ("gateway/s/day/two.jsonl.gz", 3, "{bad", "bad_json")
    events = {event: (file, row) for event, file, row in folder.events()}
    assert events["two-b"] == ("gateway/s/day/two.jsonl.gz", 5) and events["call-7"] == ("gateway/s/0007.json", 1)
    assert len(events) == MANY + 3
    assert folder.night().new == 0


def test_few_files_are_a_delivery_each(folder: Folder) -> None:
    folder.calls(0, MANY - 1)
    assert folder.night().new == MANY - 1


def test_what_is_no_small_file_of_lines_arrives_alone(folder: Folder) -> None:
    folder.calls(0, MANY)
    folder.put("array.json", json.dumps([spend_log("a"), spend_log("b")]))
    folder.put("written-wide.json", json.dumps(spend_log("c"), indent=1))
    folder.put("large.jsonl", json.dumps(spend_log("d", messages="x" * small_files.SMALL)))
    folder.put("bomb.json.gz", json.dumps(spend_log("e", messages="x" * small_files.UNPACKED)))
    report = folder.night()
    assert (report.new, report.good, report.refused) == (5, MANY + 5, [])


def test_a_night_that_breaks_off_while_it_reads_leaves_no_content_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the joined small files nor an inflated large one."""

    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pipelines.sources.gateway.litellm.clean", broken)
    for name, count, calls in (("small", 1, MANY), ("large", 2000, 1)):
        home = Home(tmp_path / name)
        with pytest.raises(MemoryError), open_warehouse(home) as con:
            folder = Folder(home.root, con)
            for n in range(calls):
                data = "".join(json.dumps(spend_log(f"{n}-{m}", messages=random.Random(m).randbytes(150).hex())) + "\n" for m in range(count))
                folder.put(f"{n}.jsonl.gz", data)
            assert count == 1 or (folder.folder / "0.jsonl.gz").stat().st_size > small_files.SMALL
            folder.night()
        left = [path for path in home.root.rglob("*") if path.is_file() and b"messages" in path.read_bytes()]
        assert left == []


def test_the_same_content_is_recognised_under_any_name_and_packing(folder: Folder) -> None:
    folder.calls(0, MANY)
    folder.night()
    for n in range(MANY):
        path = folder.folder / f"{n:04}.json"
        folder.put(f"again/{n}.json.gz", path.read_bytes())
        path.rename(path.with_name(f"renamed-{n}.json"))
    report = folder.night()
    assert (report.new, report.refused) == (0, [])
    assert folder.rows("select state, count(*) from source_files group by all order by 1") == [("landed", MANY), ("same_content", 2 * MANY)]
    assert [event for event, *_ in folder.events()] == sorted(f"call-{n}" for n in range(MANY))
    assert folder.night().new == 0
    folder.calls(MANY, 3)
    assert folder.night().new == 3 and len(folder.events()) == MANY + 3


def test_events_on_the_same_line_of_two_files_lose_alone(folder: Folder) -> None:
    folder.calls(0, MANY)
    folder.put("other.json", json.dumps(spend_log("call-3", prompt_tokens=5, end_user="")) + " ")  # the same call, written otherwise
    folder.night()
    assert [event for event, *_ in folder.events()] == sorted(f"call-{n}" for n in range(MANY))
    assert folder.rows("select path, good, inserted, duplicate from source_files where duplicate > 0 or good <> inserted") == [
        ("gateway/s/other.json", 1, 0, 1)
    ]


def test_a_new_reader_reads_the_whole_batch_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.calls(0, MANY)
    folder.night()
    before = folder.events(), folder.rows("select delivery_id, path, lines, good, inserted from source_files order by all")
    monkeypatch.setattr(landing, "_code", lambda _: "a new release")
    assert folder.night().new == 1
    assert (folder.events(), folder.rows("select delivery_id, path, lines, good, inserted from source_files order by all")) == before
    assert folder.night().new == 0


def test_a_batch_of_which_a_file_is_gone_stays_as_it_was_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.calls(0, MANY + 10)
    folder.night()
    (folder.folder / "0003.json").unlink()
    folder.calls(MANY + 10, 2)
    monkeypatch.setattr(landing, "_code", lambda _: "a new release")
    report = folder.night()
    assert report.new == 2 and len(folder.events()) == MANY + 12
    assert folder.night().new == 0


def test_one_file_that_cannot_be_read_is_named_and_the_others_land(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    format_ = registry.find("litellm")
    read = format_.read

    def fussy(con: Any, delivery: Any, source: Any) -> None:
        if any(b"call-17" in path.read_bytes() for path in delivery.paths):
            raise Refused("odd", "here", "mend it")
        read(con, delivery, source)

    monkeypatch.setattr(landing, "_code", lambda _: "")
    monkeypatch.setattr(registry, "find", lambda _: landing.replace(format_, read=fussy))
    folder.calls(0, MANY)
    report = folder.night()
    assert [str(refused) for refused in report.refused] == ["here: odd; mend it"] and report.good == MANY - 1
    assert folder.rows("select path from source_files where state = 'refused'") == [("gateway/s/0017.json",)]
    monkeypatch.undo()
    monkeypatch.setattr(landing, "_code", lambda _: "")
    assert folder.night().good == 1 and len(folder.events()) == MANY


def test_a_rebuilt_warehouse_has_the_same_events(folder: Folder) -> None:
    folder.calls(0, MANY)
    folder.night()
    folder.calls(MANY, MANY)
    folder.night()
    before = folder.events()
    shutil.rmtree(folder.home.lake)
    with memory() as con:
        folder.con = con
        assert folder.night().new == 1
        assert folder.events() == before


def test_a_warehouse_from_before_compares_its_events_again(folder: Folder) -> None:
    folder.put("a.jsonl", json.dumps(spend_log("x")))
    folder.put("b.jsonl", json.dumps(spend_log("x")) + "\n\n")
    folder.night()
    folder.con.execute("alter table event_losers drop column source_file")
    folder.night()
    assert len(folder.events()) == 1
