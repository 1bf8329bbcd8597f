"""Pages as the cost APIs of OpenAI and Anthropic answer, of daily buckets or of rows with a day each: JSON in, one row per result out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb

from pipelines.errors import Refused
from pipelines.sources import Delivery
from pipelines.sources.reading import known_currencies, macros, note_ignored_fields, read_json, read_text, where

Times = Callable[[dict[str, Any]], tuple[datetime, datetime]]  # start and end of a bucket, UTC, without a zone
Found = tuple[str, int, date, str]  # file, record in the file, day, the result as JSON
AGAIN = "fetch the pages again, from the first to the last"


def load_pages(con: duckdb.DuckDBPyConnection, delivery: Delivery, times: Times, shape: str) -> None:
    """Temp tables `results(record, place, day, fields)` and `buckets(day)`, empty days included; `shape` (JSON) is what is read of a result.

    Every JSON number becomes a text with the same digits. Refused: a page that is not one, a page set that is not
    complete, days that repeat or have gaps, a bucket that is not a day.
    """
    pages = sorted((_page(delivery, path, times) for path in delivery.paths), key=lambda page: page[1][0][0])
    _check_chain(delivery, pages)
    days: list[date] = []
    found: list[Found] = []
    for path, buckets, _ in pages:
        record = 0
        for day, results in buckets:
            if days and day != days[-1] + timedelta(days=1):
                raise Refused(f"the day after {days[-1]} is {day}", where(delivery, path), AGAIN)
            days.append(day)
            for result in results:
                record += 1
                found.append((where(delivery, path, record), record, day, json.dumps(result)))
    _keep(con, found, days)
    note_ignored_fields(con, (result for _, buckets, _ in pages for _, results in buckets for result in results), json.loads(shape))


def load_rows(con: duckdb.DuckDBPyConnection, delivery: Delivery, times: Times, shape: str) -> None:
    """The same tables, of pages whose rows have a day of their own; every day from the first row's to the last's counts as told.

    Refused: a page that is not one, a page set without its last page, a row that is not of one day, a row that is told twice.
    """
    found: list[Found] = []
    rows: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    last = 0
    for path in delivery.paths:
        data, has_more = _answer(delivery, path)
        last += not has_more
        for record, row in enumerate(data, 1):
            place = where(delivery, path, record)
            if not isinstance(row, dict):
                raise Refused("a row that is not an object", place, AGAIN)
            day = _day(place, row, times)
            key = json.dumps([f"{day}", row.get("group")], sort_keys=True)
            if key in seen:
                raise Refused(f"the same day and group as {seen[key]}", place, AGAIN)
            seen[key] = place
            found.append((place, record, day, json.dumps(row)))
            rows.append(row)
    if last != 1:
        raise Refused(f"{last} pages say that they are the last", where(delivery, delivery.paths[-1]), AGAIN)
    first, final = min(row[2] for row in found), max(row[2] for row in found)
    _keep(con, found, [first + timedelta(days=n) for n in range((final - first).days + 1)])
    note_ignored_fields(con, rows, json.loads(shape))


def _keep(con: duckdb.DuckDBPyConnection, found: list[Found], days: list[date]) -> None:
    macros(con)
    known_currencies(con)
    con.execute("create or replace temp table buckets as select unnest($days)::date as day", {"days": days})
    con.execute(
        "create or replace temp table results as select unnest($records)::bigint as record, unnest($places)::varchar as place,"
        " unnest($days)::date as day, unnest($fields)::varchar as fields",
        {
            "records": list(range(1, len(found) + 1)),
            "places": [row[0] for row in found],
            "days": [row[2] for row in found],
            "fields": [row[3] for row in found],
        },
    )


def refuse_first(con: duckdb.DuckDBPyConnection, select: str, params: dict[str, object] | None = None) -> None:
    """Refuses the delivery for the first row of `select` (place, problem), if there is one."""
    bad = con.execute(select, params or {}).fetchall()
    if bad:
        place, problem = bad[0]
        raise Refused(problem, place, "nothing of it was read; deliver it again")


def cover_days(con: duckdb.DuckDBPyConnection, account: str) -> None:
    """Temp table `coverage`: every day the pages speak about."""
    con.execute(
        "create or replace temp table coverage as select $account::varchar as billing_account_id,"
        " strftime(day, '%Y-%m') as billing_period, day as usage_date from buckets",
        {"account": account},
    )


Page = tuple[Path, list[tuple[date, list[dict[str, Any]]]], bool]


def _page(delivery: Delivery, path: Path, times: Times) -> Page:
    """One file: its buckets, and whether another page follows."""
    data, has_more = _answer(delivery, path)
    return path, [_bucket(where(delivery, path), number, bucket, times) for number, bucket in enumerate(data, 1)], has_more


def _answer(delivery: Delivery, path: Path) -> tuple[list[Any], bool]:
    """What one file says under `data`, and whether another page follows."""
    place = where(delivery, path)
    page = read_json(read_text(delivery, path), place, AGAIN)
    data = page.get("data") if isinstance(page, dict) else None
    if not isinstance(data, list) or not data:
        raise Refused("not a page of days", place, "deliver the answers of the cost API as they came")
    return data, bool(page.get("has_more"))


def _bucket(place: str, number: int, bucket: Any, times: Times) -> tuple[date, list[dict[str, Any]]]:
    place = f"{place} bucket {number}"
    day = _day(place, bucket, times)
    results = bucket.get("results")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise Refused("a bucket whose results are not a list of objects", place, AGAIN)
    return day, results


def _day(place: str, bucket: Any, times: Times) -> date:
    """The UTC day of a bucket or a row."""
    try:
        start, end = times(bucket)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Refused("a bucket without its times", place, AGAIN) from None
    if start.time() != time() or not start < end <= start + timedelta(days=1):
        raise Refused("a bucket that is not one UTC day", place, "ask the cost API for daily buckets")
    return start.date()


def _check_chain(delivery: Delivery, pages: list[Page]) -> None:
    for path, _, has_more in pages[:-1]:
        if not has_more:
            raise Refused("another page follows, but this one says it is the last", where(delivery, path), AGAIN)
    path, _, has_more = pages[-1]
    if has_more:
        raise Refused("the page says that more follow, and they are missing", where(delivery, path), AGAIN)

