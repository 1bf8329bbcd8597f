"""Which of several rows about one event counts, whatever the order in which they arrived.

Gateway events of one (source, event_id): the greatest event_version wins, then the greatest payload hash; equal payloads
differ in nothing, so the first arrival is kept. GPU intervals: the newest delivery wins, then its last row.
`event_losers` holds the others with what they were: duplicate (the same payload as the winner), superseded (an older
version or delivery), conflict (the same version with another payload).
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from pipelines import traces
from pipelines.home import Home
from pipelines.sources import EVENT, GPU_USAGE
from pipelines.warehouse import transaction

BUCKET = 1_000_000  # ids compared at once: bounds memory whatever the month


def _payload(columns: Iterable[str]) -> str:
    """A hash of everything that a row says; taken of rows with an id that stands twice, not of all."""
    return f"md5(to_json([{', '.join(f'{name}::varchar' for name in columns)}])::varchar) as payload"


# kind -> (select list over the lake, order of preference, condition of "superseded")
_KINDS = {
    "gateway": (
        f"usage_date, occurred_at, event_version as version, {_payload(EVENT)}",
        "version desc, payload desc, seq, source_file, source_row",
        "version <> best_version",
    ),
    "gpu": (
        f"interval_start::date as usage_date, interval_start as occurred_at, '' as version, {_payload(GPU_USAGE)}",
        "seq desc, source_row desc",
        "true",
    ),
}


def compare(con: duckdb.DuckDBPyConnection, home: Home, kind: str, source: str) -> None:
    """Compare the deliveries that were not compared yet (`inserted` is NULL) with all others of the source."""
    select, order, superseded = _KINDS[kind]
    rows = con.execute(
        "select lake_file, inserted is null from source_files where kind = ? and source = ? and state = 'landed' and good > 0",
        [kind, source],
    ).fetchall()
    files = sorted({str(home.lake / file) for file, _ in rows})
    new = sorted({str(home.lake / file) for file, is_new in rows if is_new})
    old = sorted(set(files) - set(new))
    con.execute(
        "create or replace temp table losers(source varchar, event_id varchar, delivery_id varchar,"
        " source_file varchar, source_row bigint, usage_date date, outcome varchar)"
    )
    con.execute("create or replace temp table compared(event_id varchar)")
    traces.find_around(con, source)
    around = [str(home.lake / file) for (file,) in con.execute(AROUND).fetchall()]
    buckets = _suspects(con, new, old, around) if new or around else 0
    for bucket in range(buckets):
        con.execute(
            f"""
            create or replace temp table contenders as
            with landed as (
                select event_id, delivery_id, source_file, source_row, {select}
                from read_parquet($files, union_by_name = true)
                where hash(event_id) in (select h from suspects where bucket = $bucket)
            )
            select l.*, f.seq, a.event is not null or x.event_id is not null as encloses
            from landed l
            join (select distinct delivery_id, seq from source_files where kind = $kind and state = 'landed') f
                on f.delivery_id = l.delivery_id
            left join around a on a.delivery_id = l.delivery_id and a.event = md5_number_lower(l.event_id) and a.occurred_at = l.occurred_at
            left join (select distinct delivery_id, source_file, source_row, event_id from event_losers where outcome = 'enclosing') x
                on x.delivery_id = l.delivery_id and x.source_file = l.source_file and x.source_row = l.source_row and x.event_id = l.event_id
            """,
            {"files": files, "bucket": bucket, "kind": kind},
        )
        con.execute("insert into compared select distinct event_id from contenders")
        con.execute(
            f"""
            insert into losers
            with ranked as (
                select *,
                    row_number() over preference as place,
                    first_value(version) over preference as best_version,
                    first_value(payload) over preference as best_payload
                from contenders
                window preference as (partition by event_id order by encloses, {order})
            )
            select
                $source, event_id, delivery_id, source_file, source_row, usage_date,
                case
                    when encloses then 'enclosing'
                    when payload = best_payload then 'duplicate'
                    when {superseded} then 'superseded'
                    else 'conflict' end
            from ranked
            where place > 1 or encloses
            """,
            {"source": source},
        )
    with transaction(con):
        con.execute("delete from event_losers where source = ? and event_id in (from compared)", [source])
        con.execute("insert into event_losers by name from losers")
        _count(con, kind, source)
    for table in ("suspects", "contenders", "losers", "compared", "around"):
        con.execute(f"drop table if exists temp.{table}")


AROUND = """
select distinct f.lake_file
from source_files f
join around a on a.delivery_id = f.delivery_id
where f.state = 'landed' and f.good > 0
order by 1
"""


def _suspects(con: duckdb.DuckDBPyConnection, new: list[str], old: list[str], around: list[str]) -> int:
    """Temp table `suspects(h, bucket)`: hashes of ids that a new delivery has and that stand anywhere twice, or that enclose a call."""
    ids = "select hash(event_id) as h from read_parquet($new)" if new else "select null::ubigint as h limit 0"  # a delivery may hold spans and no call
    con.execute(f"create or replace temp table new_ids as {ids}", {"new": new} if new else {})
    again = "select h from new_ids group by h having count(*) > 1"
    if old:
        again += " union select hash(event_id) from read_parquet($old) where hash(event_id) in (from new_ids)"
    if around:
        again += " union select hash(event_id) from read_parquet($around) where md5_number_lower(event_id) in (select event from around)"
    params = {name: files for name, files in (("old", old), ("around", around)) if files}
    con.execute(f"create or replace temp table twice as {again}", params)
    (count,) = con.execute("select count(*) from twice").fetchall()[0]
    buckets = -(-count // BUCKET)
    con.execute(
        "create or replace temp table suspects as select h, (h % $buckets::ubigint)::bigint as bucket from twice",
        {"buckets": max(buckets, 1)},
    )
    con.execute("drop table new_ids; drop table twice")
    return buckets


def _count(con: duckdb.DuckDBPyConnection, kind: str, source: str) -> None:
    """good = inserted + duplicate + superseded + conflict of every landed file of the source, as it stands now."""
    con.execute(
        """
        update source_files f
        set duplicate = c.duplicate, superseded = c.superseded, conflict = c.conflict,
            inserted = f.good - c.duplicate - c.superseded - c.conflict
        from (
            select
                s.delivery_id, s.path,
                count(*) filter (x.outcome = 'duplicate') as duplicate,
                count(*) filter (x.outcome in ('superseded', 'enclosing')) as superseded,
                count(*) filter (x.outcome = 'conflict') as conflict
            from source_files s
            left join event_losers x on x.delivery_id = s.delivery_id and x.source_file = s.path
            where s.kind = $kind and s.source = $source and s.state = 'landed'
            group by all
        ) c
        where c.delivery_id = f.delivery_id and c.path = f.path and f.state = 'landed'
        """,
        {"kind": kind, "source": source},
    )
