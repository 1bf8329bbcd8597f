"""Of calls within calls the innermost counts, in whatever files and nights their spans come."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs, landing, traces
from pipelines.home import Home
from pipelines.policy.files import Sources
from pipelines.warehouse import memory
from tests.conftest import empty_home, quiet
from tests.unit.test_landing_gateways import NIGHT, Seen
from tests.unit.test_trace_readers import export, span, usage


class Traces:
    """A home with one source of traces, and the calls that count in it."""

    def __init__(self, root: Path, con: duckdb.DuckDBPyConnection) -> None:
        self.home, self.con, self.seen = Home(root), con, Seen()
        self.folder = self.home.landing / "gateway" / "s"
        self.folder.mkdir(parents=True)

    def put(self, name: str, *spans: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(export(*spans)) + "\n")

    def night(self) -> list[str]:
        sources = Sources(version=1, gateways=[{"name": "s", "format": "otel_genai"}])
        landing.land(self.con, self.home, sources, NIGHT, self.seen, quiet)  # type: ignore[arg-type]
        lake = [str(self.home.lake / row[0]) for row in self.con.execute("select lake_file from source_files where good > 0").fetchall()]
        odd = "select count(*) from source_files where state = 'landed' and good is distinct from inserted + duplicate + superseded + conflict"
        assert self.con.execute(odd).fetchall() == [(0,)]
        if not lake:
            return []
        rows = self.con.execute(
            "select event_id, input_uncached_tokens from read_parquet(?) l anti join event_losers x on x.delivery_id = l.delivery_id"
            " and x.source_file = l.source_file and x.source_row = l.source_row and x.event_id = l.event_id order by all",
            [lake],
        ).fetchall()
        return [f"{int(event[3:], 16) if event.startswith('t1-') else event}:{tokens}" for event, tokens in rows]

    def losers(self) -> list[tuple[Any, ...]]:
        return self.con.execute("select outcome, count(*) from event_losers group by all order by all").fetchall()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Traces]:
    with memory() as con:
        yield Traces(tmp_path, con)


OUTER, INNER = span(2, **usage(100, 9)), span(5, 4, **usage(60, 4))
BETWEEN = [span(3, 2, operation="execute_tool"), {**span(4, 3, operation=None), "attributes": []}]


@pytest.mark.parametrize(("order", "nights"), [((1, 0, 2), 1), *((order, 3) for order in itertools.permutations(range(3)))])
def test_a_call_around_a_call_in_another_file_is_not_counted(house: Traces, order: tuple[int, ...], nights: int) -> None:
    parts = [[OUTER], BETWEEN, [INNER]]
    for n, part in enumerate(order):
        house.put(f"{n}.jsonl", *parts[part])
        found = house.night() if nights == 3 else []
        if found and n < 2:
            assert len(found) == len({0, 2} & set(order[: n + 1]))  # until the middle is here nothing joins them
    assert house.night() == ["5:60"] and house.losers() == [("enclosing", 1)]
    assert house.con.execute("select sum(good), sum(inserted), sum(superseded) from source_files").fetchall() == [(2, 1, 1)]


def test_the_day_of_a_call_that_stopped_counting_is_known_to_have_changed(house: Traces) -> None:
    house.put("a.jsonl", OUTER)
    assert house.night() == ["2:100"]
    house.put("b.jsonl", *BETWEEN, INNER)
    assert house.night() == ["5:60"]
    ((day,),) = house.con.execute("select usage_date from event_losers").fetchall()
    assert day == house.con.execute("select min(first_day) from source_files where path like '%a.jsonl'").fetchall()[0][0]


def test_the_framework_may_repeat_the_id_of_the_answer(house: Traces) -> None:
    outer, inner = (span(n, up, **usage(tokens, 4), **{"gen_ai.response.id": "msg"}) for n, up, tokens in ((2, None, 90), (5, 2, 60)))
    house.put("a.jsonl", outer)
    assert house.night() == ["msg:90"]
    house.put("b.jsonl", inner)
    assert house.night() == ["msg:60"]
    house.put("c.jsonl", outer, {**span(9), "attributes": []})  # delivered again
    assert house.night() == ["msg:60"] and dict(house.losers())["enclosing"] == 2


def test_what_is_no_call_around_keeps_counting(house: Traces) -> None:
    house.put("a.jsonl", span(1, **usage(100, 9)), span(7, 8, **usage(7, 1)))
    house.put("b.jsonl", span(2, 1, operation="embeddings", **usage(30, None)), span(8, 7, **usage(8, 1)))  # another kind; a circle
    house.put("c.jsonl", {**span(3, 1, **usage(5, 1)), "traceId": "t2"})
    assert house.night() == ["1:100", "2:30", "7:7", "8:8", "t2-0000000000000003:5"]


def test_a_new_reader_and_a_new_warehouse_say_the_same(house: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a.jsonl", OUTER)
    house.night()
    house.put("b.jsonl", *BETWEEN, INNER)
    before = house.night()
    monkeypatch.setattr(landing, "_code", lambda _: "a new release")
    assert house.night() == before == ["5:60"]
    with memory() as con:
        house.con = con
        assert house.night() == before


@pytest.mark.parametrize("seed", range(2))
def test_any_cut_of_a_forest_counts_what_one_file_of_it_counts(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "BUCKET", 7)
    rng = random.Random(seed)
    spans = []
    for n in range(1, 41):
        up = rng.choice([None, *range(1, n)]) if n > 1 else None
        said = usage(n, 1) if rng.random() < 0.6 else {}
        kind = rng.choice(["chat", "chat", "embeddings", "execute_tool"])
        spans.append({**span(n, up, operation=kind, **(said if kind != "execute_tool" else {})), "traceId": "t1"})
    found = []
    for cut in (1, 6):
        with memory() as con:
            house = Traces(tmp_path / f"{cut}", con)
            order = rng.sample(spans, len(spans))
            for n in range(cut):
                house.put(f"{n}.jsonl", *order[n::cut])
                if rng.random() < 0.5:
                    house.night()
            found.append(house.night())
    assert found[0] == found[1] and 0 < len(found[0]) < 40


def test_a_trace_may_be_weeks_long(house: Traces) -> None:
    late = {**INNER, "parentSpanId": OUTER["spanId"], "startTimeUnixNano": str(int(INNER["startTimeUnixNano"]) + 20 * 86_400 * 10**9)}
    late["endTimeUnixNano"] = str(int(late["startTimeUnixNano"]) + 10**9)
    house.put("a.jsonl", OUTER)
    house.night()
    house.put("b.jsonl", late)
    assert house.night() == ["5:60"]


def test_a_later_night_rates_the_day_again(tmp_path: Path) -> None:
    home = empty_home(tmp_path, "version: 1\ngateways: [{name: s, format: otel_genai}]\n")
    folder = home.landing / "gateway" / "s"
    folder.mkdir(parents=True)
    counted = []
    for night, (name, spans) in enumerate([("a.jsonl", [OUTER]), ("b.jsonl", [*BETWEEN, INNER])], 2):
        (folder / name).write_text(json.dumps(export(*spans)) + "\n")
        assert jobs.nightly(home, date(2026, 9, night), quiet).refused == []  # the checks of the night too
        with duckdb.connect(str(home.current), read_only=True) as con:
            counted.append(con.execute("select sum(input_uncached_tokens), sum(events) from usage_daily").fetchall())
    assert counted == [[(100, 1)], [(60, 1)]]
