"""Landing proves that no line of a gateway file was passed over, and says where each rejected row stands."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import landing, small_files
from pipelines.home import Home
from pipelines.policy.files import Sources
from pipelines.sources.gateway import lines as gateway_lines
from pipelines.warehouse import memory

NIGHT = date(2026, 10, 4)


class Seen:
    """The order of arrival, kept in memory."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, date]] = {}

    def record(self, seen: Iterable[tuple[str, str, str, str]], again: object = ()) -> None:
        for delivery, *_ in seen:
            self.known.setdefault(delivery, (len(self.known) + 1, NIGHT))


def land(con: duckdb.DuckDBPyConnection, root: Path, files: dict[str, str], **entry: Any) -> landing.LandingReport:
    folder = root / "data" / "landing" / "gateway" / "s"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    sources = Sources(version=1, gateways=[{"name": "s", **entry}])
    return landing.land(con, Home(root), sources, NIGHT, Seen(), lambda _: None)  # type: ignore[arg-type]


def files(con: duckdb.DuckDBPyConnection, *columns: str) -> list[tuple[Any, ...]]:
    return con.execute(f"select {', '.join(columns)} from source_files order by path").fetchall()


def observation(name: str, **changes: Any) -> str:
    return json.dumps(
        {"id": name, "project_id": "p", "type": "GENERATION", "start_time": "2026-10-03 12:00:01", "provided_model_name": "gpt-4o",
         "usage_details": {"input": 7}, "updated_at": "2026-10-03 12:00:04"} | changes
    )  # fmt: skip


def spend_log(name: str, **changes: Any) -> dict[str, Any]:
    return {"request_id": name, "startTime": "2026-10-03 12:00:01", "prompt_tokens": 5, "model": "gpt-4o", "metadata": "{}"} | changes


def test_an_observation_in_two_export_windows_counts_once_in_its_last_version(tmp_path: Path) -> None:
    first = "\n".join([observation("a"), observation("s", type="SPAN"), observation("b")])
    second = "\n".join([observation("b"), observation("a", updated_at="2026-10-03 13:00:00", usage_details={"input": 9}), observation("c")])
    with memory() as con:
        land(con, tmp_path, {"p/observations/1.jsonl": first, "p/observations/2.jsonl": second, "p/manifests/2.json": "{}"}, format="langfuse")
        assert files(con, "state", "good", "rejected") == [("landed", 0, 0), ("landed", 2, 0), ("landed", 3, 0)]
        assert con.execute("select event_id, outcome from event_losers order by 1").fetchall() == [("p:a", "superseded"), ("p:b", "duplicate")]


def test_an_export_waits_for_the_manifest_that_is_written_last(tmp_path: Path) -> None:
    """Windows before the first manifest count too, an empty one says nothing, and a project without manifests is taken as it comes."""
    with memory() as con:
        first = {"p/observations/1.jsonl": observation("a"), "p/observations/2.jsonl": "", "p/observations/3.csv": "half", "p/manifests/2.json": "{}", "q/observations/9.jsonl": observation("q")}
        report = land(con, tmp_path, first, format="langfuse")
        assert report.waiting == ["gateway/s/p/observations/3.csv: the manifest that says that it is whole is not here yet"] and report.refused == []
        assert files(con, "path", "state", "good") == [
            ("gateway/s/p/manifests/2.json", "landed", 0), ("gateway/s/p/observations/1.jsonl", "landed", 1), ("gateway/s/p/observations/2.jsonl", "landed", 0),
            ("gateway/s/p/observations/3.csv", "waiting", None), ("gateway/s/q/observations/9.jsonl", "landed", 1),
        ]  # fmt: skip
        (tmp_path / "data" / "landing" / "gateway" / "s" / "p" / "observations" / "3.csv").unlink()
        report = land(con, tmp_path, {"p/observations/3.jsonl": observation("b"), "p/manifests/3.json": '{"window": 3}'}, format="langfuse")
        assert (report.waiting, report.refused, report.good) == ([], [], 1)


def test_a_rejected_row_stands_on_its_line_whatever_else_the_lines_hold(tmp_path: Path) -> None:
    bad = observation("x", start_time="?")
    text = "\n".join([observation("s", type="SPAN"), "", bad, observation("b")])
    with memory() as con:
        land(con, tmp_path, {"a.jsonl": text}, format="langfuse")
        ((row, offset, length, reason),) = con.execute("select source_row, byte_offset, byte_length, reason from quarantine").fetchall()
        assert (row, text[offset : offset + length], reason) == (3, bad, "bad_timestamp")


def test_more_bad_and_blank_lines_than_are_looked_at_at_once_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "AT_ONCE", 2)
    monkeypatch.setattr(gateway_lines, "RUNS", 2)
    lines = ["", "{1", "{2", " ", "", json.dumps(spend_log("a")), "", "{3", "\t", "{4", "{5", "", json.dumps(spend_log("b")), ""]
    text = "\n".join(lines)
    with memory() as con:
        land(con, tmp_path, {"a.jsonl": text}, format="litellm")
        assert files(con, "lines", "blank", "good", "rejected") == [(13, 6, 2, 5)]
        found = con.execute("select source_row, byte_offset, byte_length from quarantine order by 1").fetchall()
        assert [(row, text[offset : offset + length]) for row, offset, length in found] == [(n, line) for n, line in enumerate(lines, 1) if line[:1] == "{" and line[1] in "12345"]
        (lake,) = con.execute("select lake_file from source_files").fetchall()[0]
        kept = con.execute("select event_id, source_row from read_parquet(?) order by 1", [str(Home(tmp_path).lake / lake)]).fetchall()
        assert kept == [("a", 6), ("b", 13)]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_is_counted_by_its_records_and_lines_by_their_bytes(tmp_path: Path, indent: int | None) -> None:
    array = json.dumps([spend_log("a"), spend_log("b", startTime=None)], indent=indent)
    lines = "\n".join(["", json.dumps(spend_log("c")), json.dumps(spend_log("d", startTime=None))])
    with memory() as con:
        land(con, tmp_path, {"a.json": array, "b.json": lines}, format="litellm")
        assert files(con, "path", "lines", "blank", "good", "rejected") == [
            ("gateway/s/a.json", 2, 0, 1, 1), ("gateway/s/b.json", 3, 1, 1, 1),
        ]  # fmt: skip
        found = con.execute("select path, source_row, byte_offset from quarantine order by path").fetchall()
        assert found == [("gateway/s/a.json", 2, None), ("gateway/s/b.json", 3, lines.index('{"request_id": "d"'))]


def test_an_array_that_breaks_off_is_refused_whole(tmp_path: Path) -> None:
    with memory() as con:
        report = land(con, tmp_path, {"a.json": json.dumps([spend_log("a")])[:-9], "b.jsonl": json.dumps(spend_log("b"))}, format="litellm")
        assert [str(refused).split(":")[0] for refused in report.refused] == ["gateway/s/a.json"] and report.good == 1


def test_a_trace_line_holds_many_calls_or_none(tmp_path: Path) -> None:
    call = {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}
    spans = [{"traceId": "t", "spanId": str(n), "startTimeUnixNano": str((1791000000 + n) * 10**9), "attributes": [call]} for n in range(3)]
    many = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
    text = "\n".join(['{"resourceSpans": []}', many, '{"cut'])
    with memory() as con:
        land(con, tmp_path, {"a.jsonl": text}, format="otel_genai", fields={"gateway_team": "team.id"})
        assert files(con, "state", "good", "rejected") == [("landed", 3, 1)]
        assert con.execute("select source_row, byte_offset, reason from quarantine").fetchall() == [(3, text.index('{"cut'), "bad_json")]


def test_fields_that_nobody_reads_are_counted_and_never_named(tmp_path: Path) -> None:
    lines = [json.dumps(spend_log("a", secret_prompt="tell me", other=1)), json.dumps(spend_log("b")), json.dumps(spend_log("c", other=2)), "{"]
    with memory() as con:
        land(con, tmp_path, {"a.jsonl": "\n".join(lines)}, format="litellm")
        assert files(con, "ignored_fields", "ignored_lines") == [(2, 2)]
        assert not con.execute("select * from source_files s where s::varchar like '%secret%' or s::varchar like '%tell me%'").fetchall()


def test_a_declared_log_counts_what_its_places_do_not_name(tmp_path: Path) -> None:
    with memory() as con:
        land(con, tmp_path, {"a.jsonl": '{"start_time": "2026-10-03T12:00:01Z", "hidden": {"start_time": 1}}\n'}, format="envoy")
        assert files(con, "ignored_fields", "ignored_lines") == [(1, 1)]


def test_a_header_tells_of_every_record(tmp_path: Path) -> None:
    text = "id,at,said,model\na,2026-10-03 12:00:01,hello,m\nb,2026-10-03 12:00:01,,m\n"
    fields = {"event_id": "id", "occurred_at": "at", "model": "model"}
    with memory() as con:
        land(con, tmp_path, {"a.csv": text}, format="mapped", file="csv", fields=fields)
        assert files(con, "good + rejected", "ignored_fields", "ignored_lines") == [(2, 1, 2)]


def test_each_of_many_small_files_counts_its_own_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_files, "MANY", 2)
    texts = {"a.jsonl": json.dumps(spend_log("a", x=1, y=2)), "b.jsonl": "\n" + json.dumps(spend_log("b")), "c.jsonl": json.dumps(spend_log("c", x=1))}
    with memory() as con:
        land(con, tmp_path, texts, format="litellm")
        assert files(con, "ignored_fields", "ignored_lines") == [(2, 1), (0, 0), (1, 1)]


@pytest.mark.parametrize("drifts_at", [0, 5_000, 9_000])
def test_a_field_that_appears_anywhere_in_a_long_file_is_counted(tmp_path: Path, drifts_at: int) -> None:
    lines = [json.dumps(spend_log(f"{n}", **({"new": 1} if drifts_at <= n < drifts_at + 1_000 else {}))) for n in range(10_000)]
    with memory() as con:
        land(con, tmp_path, {"a.jsonl": "\n".join(lines)}, format="litellm")
        ((names, with_names),) = files(con, "ignored_fields", "ignored_lines")
        assert names == 1 and 0 < with_names <= 1_000


def test_attributes_of_spans_and_fields_beside_them_are_counted_by_line(tmp_path: Path) -> None:
    def line(**span: Any) -> str:
        known = {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}
        said = {"key": "gen_ai.prompt.0.content", "value": {"stringValue": "tell me"}}
        made = {"traceId": "t", "spanId": "1", "startTimeUnixNano": "1791000000000000000", "attributes": [known, said]} | span
        return json.dumps({"resourceSpans": [{"resource": {"attributes": [known]}, "scopeSpans": [{"spans": [made, made]}]}]})

    with memory() as con:
        land(con, tmp_path, {"a.jsonl": "\n".join([line(), line(events=[]), line(attributes=[]), '{"resourceSpans": []}'])}, format="otel_genai")
        assert files(con, "ignored_fields", "ignored_lines") == [(2, 2)]


def test_a_large_packed_file_lands_like_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_files, "SMALL", 0)
    text = "\n".join([json.dumps(spend_log("a")), "", "{", json.dumps(spend_log("b", prompt_tokens=-1)), json.dumps(spend_log("c"))])
    told = []
    for name in ("plain", "packed"):
        home = Home(tmp_path / name)
        folder = home.landing / "gateway" / "s"
        folder.mkdir(parents=True)
        if name == "packed":
            (folder / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
            (folder / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(spend_log("d")).encode()))
            (folder / "copy.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / "a.jsonl").write_text(text)
            (folder / "b.jsonl").write_text(json.dumps(spend_log("d")))
            (folder / "copy.jsonl").write_text(text)
        with memory() as con:
            land(con, home.root, {}, format="litellm")
            counts = files(con, "state", "lines", "blank", "good", "rejected", "inserted", "seq", "content_sha256")
            told.append((counts, con.execute("select * exclude (path, delivery_id) from quarantine order by source_row").fetchall()))
        assert not (home.scratch / "contents").exists()
    assert told[0] == told[1]
    assert [row[0] for row in told[0][0]] == ["landed", "landed", "same_content"]


def test_a_file_that_another_gateway_told_already_is_refused(tmp_path: Path) -> None:
    """The same night or later, packed or not; what says nothing is alike everywhere."""
    sources = Sources(version=1, gateways=[{"name": name, "format": "litellm"} for name in ("a", "b")])
    calls = "".join(json.dumps(spend_log(f"call-{n}")) + "\n" for n in range(3)).encode()
    seen = Seen()
    for source, name, data in (("a", "1.jsonl", calls), ("b", "1.jsonl.gz", gzip.compress(calls)), ("a", "empty.json", b"[]"), ("b", "empty.json", b"[]")):
        path = Home(tmp_path).landing / "gateway" / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with memory() as con:
        for night in range(2):
            report = landing.land(con, Home(tmp_path), sources, NIGHT, seen, lambda _: None)  # type: ignore[arg-type]
            (refused,) = report.refused
            assert str(refused).startswith("gateway/b/1.jsonl.gz: the same content as gateway/a/1.jsonl; two sources of one gateway"), night
            assert files(con, "source", "state", "good") == [("a", "landed", 3), ("a", "landed", 0), ("b", "refused", None), ("b", "landed", 0)]
