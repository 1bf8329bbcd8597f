"""Calls within calls whose spans came in different files, the same night or weeks apart: the innermost counts, as within a file.

Landing keeps of every delivery of traces the spans that others may stand within or around (`trace_spans`). When deliveries are new,
the traces that they share with others are looked at again. A call that turns out to enclose another one is an event that lost, with
the outcome `enclosing`: its day is rated again, and what that means for a closed month is a correction, as for a late event.
"""

from __future__ import annotations

import duckdb

BUCKET = 1_000_000  # spans looked at at once: bounds memory


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """The spans of landed deliveries, where they are missing. Ids are halves of MD5; `event` is that of the event's id, of calls that count."""
    con.execute(
        "create table if not exists trace_spans(source varchar, delivery_id varchar, trace ubigint, span ubigint, parent ubigint,"
        " does varchar, used boolean, event ubigint, occurred_at timestamp)"
    )


def keep(con: duckdb.DuckDBPyConnection, source: str, delivery_id: str) -> bool:
    """Keeps what the reader left in `kept_spans`; whether that is anything."""
    if not con.execute("select count(*) from duckdb_tables() where table_name = 'kept_spans' and temporary").fetchall()[0][0]:
        return False
    kept = "insert into trace_spans by name select $source as source, $id as delivery_id, * from kept_spans"
    return bool(con.execute(kept, {"source": source, "id": delivery_id}).fetchall()[0][0])


def find_enclosing(con: duckdb.DuckDBPyConnection, spans: str) -> None:
    """Temp table `enclosing(trace, span, does)` of a table of spans: those around a call of their kind that has usage."""
    con.execute(ENCLOSING.replace("{spans}", spans))


def find_around(con: duckdb.DuckDBPyConnection, source: str) -> None:
    """Temp table `around(delivery_id, event, occurred_at)`: events that enclose a call, in traces that new deliveries share with others."""
    con.execute("create or replace temp table around(delivery_id varchar, event ubigint, occurred_at timestamp)")
    con.execute(SHARED, {"source": source})
    (count,) = con.execute("select count(*) from shared_spans").fetchall()[0]
    buckets = -(-count // BUCKET)
    for bucket in range(buckets):
        con.execute(
            "create or replace temp table together as select distinct trace, span, parent, does, used from shared_spans"
            " where trace % $buckets::ubigint = $bucket",
            {"buckets": buckets, "bucket": bucket},
        )
        find_enclosing(con, "together")
        con.execute(
            "insert into around select distinct s.delivery_id, s.event, s.occurred_at from shared_spans s"
            " join enclosing e on e.trace = s.trace and e.span = s.span and e.does = s.does where s.event is not null"
        )
    con.execute("drop table if exists together; drop table if exists enclosing; drop table shared_spans")


SHARED = """
create or replace temp table shared_spans as
with fresh as (
    select distinct s.trace
    from trace_spans s
    join source_files f on f.delivery_id = s.delivery_id
    where s.source = $source and f.kind = 'gateway' and f.state = 'landed' and f.inserted is null
),
shared as (
    select s.trace
    from trace_spans s
    join fresh using (trace)
    where s.source = $source
    group by all
    having count(distinct s.delivery_id) > 1
)
select s.* from trace_spans s join shared using (trace) where s.source = $source
"""
# Those in a circle of spans enclose nothing.
ENCLOSING = """
create or replace temp table enclosing as
with recursive up(trace, span, does, inner_span) as (
    select trace, parent, does, span from {spans} where does is not null and used and parent is not null
    union
    select u.trace, c.parent, u.does, u.inner_span
    from up u
    join {spans} c on c.trace = u.trace and c.span = u.span
    where c.parent is not null
),
circles as (
    select distinct trace, span from up where span = inner_span
)
select distinct u.trace, u.span, u.does
from up u
anti join circles c on c.trace = u.trace and (c.span = u.span or c.span = u.inner_span)
"""
