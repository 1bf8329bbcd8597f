"""Answers of Prometheus' `query_range`, as dcgm-exporter, kube-state-metrics and model servers are kept there.

A long range comes in several answers, because Prometheus limits the points of one; each is a delivery on its own. Both
ends of a range are part of the answer, so one that ends on a full hour only marks the end with its last sample: the next
answer begins there. A sample counts until the next scrape of the same thing, for at most CARRIED steps; a longer gap is
no data, not zero. Values stay texts, times are whole seconds since 1970.
"""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.errors import Refused
from pipelines.sources import Delivery
from pipelines.sources.reading import read_text, where

CARRIED = 3  # steps
HOUR, DAY = 3_600, 86_400
FIRST, LAST = 946_684_800, 7_258_118_400  # 2000 and 2200
SERIES = pa.schema([("n", pa.int64()), ("labels", pa.string()), ("problem", pa.string())])
SAMPLES = pa.schema([("n", pa.int64()), ("seen_at", pa.int64()), ("value", pa.string())])

# label  a label of a series; an empty one is the same as none
# utc    TIMESTAMP of seconds since 1970
# stamp  the same as text, for ids
MACROS = """
create or replace temp macro label(labels, name) as nullif(labels ->> ('$."' || name || '"'), '');
create or replace temp macro utc(seconds) as make_timestamp(seconds * 1000000);
create or replace temp macro stamp(seconds) as strftime(utc(seconds), '%Y-%m-%dT%H:%M:%SZ');
"""

Series = tuple[dict[str, str], list[tuple[int, str]], str | None]  # labels, samples, what is wrong with it


def load_json(delivery: Delivery) -> Any:
    """The one file of the delivery; every number becomes a text with the same digits."""
    (path,) = delivery.paths
    try:
        return json.loads(read_text(delivery, path), parse_float=str, parse_int=str, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refused("not JSON", where(delivery, path) + line, "deliver the answer again, whole") from None


def load_range(con: duckdb.DuckDBPyConnection, delivery: Delivery) -> None:
    """`series` and `samples` of one answer, as `load_series` leaves them."""
    answer = load_json(delivery)
    place = where(delivery, delivery.paths[0])
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or answer.get("status") != "success" or not isinstance(data.get("result"), list):
        raise Refused("not a successful answer of query_range", place, "deliver what /api/v1/query_range answered, as it came")
    if data.get("resultType") != "matrix":
        raise Refused("values of one moment", place, "ask query_range for a range of time, with its step")
    load_series(con, delivery, [_series(item) for item in data["result"]])


def load_series(con: duckdb.DuckDBPyConnection, delivery: Delivery, found: list[Series], step: int | None = None) -> None:
    """Temp tables `series(n, labels, problem)`, `samples(n, seen_at, value)` and `span(first, last, step)`, the last of one row.

    Series are numbered from 1 as they stand in the file; one with a problem has no samples. Without a given `step` it is
    the usual distance of samples, at most an hour.
    """
    con.execute(MACROS)
    numbers, times, values = [], [], []
    for n, (_, samples, _) in enumerate(found, 1):
        numbers += [n] * len(samples)
        times += [at for at, _ in samples]
        values += [value for _, value in samples]
    tables = {
        "series": pa.table(
            [list(range(1, len(found) + 1)), [json.dumps(labels) for labels, _, _ in found], [problem for _, _, problem in found]],
            schema=SERIES,
        ),
        "samples": pa.table([numbers, times, values], schema=SAMPLES),
    }
    for name, rows in tables.items():
        con.register("arrow_rows", rows)
        con.execute(f"create or replace temp table {name} as from arrow_rows")
        con.unregister("arrow_rows")
    con.execute("alter table series alter labels type json")
    con.execute(
        """
        create or replace temp table span as
        with steps as (
            select seen_at - lag(seen_at) over (partition by n order by seen_at) as step
            from samples
        )
        select
            (select min(seen_at) from samples) as first,
            (select max(seen_at) from samples) as last,
            coalesce($step, mode(step))::bigint as step
        from steps
        """,
        {"step": step},
    )
    first, usual = con.execute("select first, step from span").fetchall()[0]
    if first is not None and (usual is None or usual > HOUR):
        problem = "one sample of each series" if usual is None else f"a step of {usual} seconds"
        raise Refused(problem, where(delivery, delivery.paths[0]), "ask query_range again with step=60")


def cover(con: duckdb.DuckDBPyConnection, seen: str) -> None:
    """Temp table `covered(clock, seen_at, hour, begins, ends)`: what each scrape of `seen` (clock, seen_at) stands for, cut at full hours.

    Everything with the same clock is scraped together: what is missing from a scrape has ended.
    """
    con.execute(
        f"""
        create or replace temp table covered as
        with scrapes as (
            select clock, seen_at, lead(seen_at) over (partition by clock order by seen_at) as following
            from (select distinct clock, seen_at from ({seen}))
        ),
        standing as (
            select
                clock, seen_at,
                least(coalesce(following, if(seen_at = last and last % {HOUR} = 0, seen_at, seen_at + step)), seen_at + {CARRIED} * step) as until
            from scrapes, span
        ),
        hours as (
            select *, unnest(generate_series(seen_at // {HOUR}, (until - 1) // {HOUR})) * {HOUR} as hour
            from standing
            where until > seen_at
        )
        select clock, seen_at, hour, greatest(seen_at, hour) as begins, least(until, hour + {HOUR}) as ends
        from hours
        """
    )


def named_start(unit: str, seconds: int) -> str:
    """SQL, over `span`: the start of an hour or day by which its row is known.

    What a later, longer answer says of the same hour has the same name and replaces it. The rest of an hour in whose
    middle the answer begins has a name of its own, so that it stands beside what the answer before it said.
    """
    return f"stamp(if(first > {unit} and first - {unit} < {seconds} and first - {unit} >= step, first, {unit}))"


def _series(item: Any) -> Series:
    if not isinstance(item, dict) or not isinstance(item.get("metric"), dict):
        return {}, [], "not_a_series"
    labels = item["metric"]
    if not all(isinstance(value, str) and readable(name + value) for name, value in labels.items()):
        return {}, [], "bad_text"
    samples: list[tuple[int, str]] = []
    try:
        for time, value in item["values"]:
            at = round(float(time))
            if not FIRST <= at < LAST or (samples and at <= samples[-1][0]) or not isinstance(value, str) or not readable(value):
                return labels, [], "bad_sample"
            samples.append((at, value))
    except (KeyError, TypeError, ValueError, OverflowError):
        return labels, [], "bad_sample"
    return labels, samples, None if samples else "no_data"


def readable(text: str) -> bool:
    """Whether the text can be stored: no half of a character pair, no NUL."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _no_constant(name: str) -> Any:
    raise ValueError(name)
