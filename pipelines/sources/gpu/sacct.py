"""Slurm's `sacct --parsable2 --noheader`, twenty-six fields in the order XDMoD asks for; the job name is last.

    sacct --allusers --parsable2 --noheader --allocations --duplicates --format jobid,jobidraw,cluster,partition,qos,
    account,group,gid,user,uid,submit,eligible,start,end,elapsed,exitcode,state,nnodes,ncpus,reqcpus,reqmem,reqtres,
    alloctres,timelimit,nodelist,jobname

Every line is one row. A job that still runs is known up to the moment of the pull (start plus elapsed); a later pull of
it replaces it. A requeued job is one event per start. Lines that hold no GPU of their own are rejected, with the reason.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.reading import create_parsed, read_text

FIELDS = 26


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per non-blank line. Times are in `source.time_zone` (UTC where it is not given)."""
    (path,) = delivery.paths
    lines = [(n, line.rstrip("\r")) for n, line in enumerate(read_text(delivery, path).split("\n"), 1) if line.strip()]
    con.execute(
        "create or replace temp table sacct_lines as"
        " select unnest($numbers)::bigint as source_row, string_split(unnest($lines)::varchar, '|') as f",
        {"numbers": [number for number, _ in lines], "lines": [line for _, line in lines]},
    )
    params = {"cluster": source.cluster, "zone": getattr(source, "time_zone", None) or "UTC", "fields": FIELDS}
    create_parsed(con, "gpu", SELECT, params)


SELECT = r"""
with fields as (
    select
        source_row, len(f) as field_count, f[1] as job_id, f[2] as raw_id, f[6] as account, f[13] as started, f[14] as ended,
        regexp_extract(f[15], '^(?:(\d+)-)?(\d+):(\d\d):(\d\d)$', ['d', 'h', 'm', 's']) as elapsed, f[17] as state, f[23] as tres,
        f[25] as nodes
    from sacct_lines
),
clocked as (
    select
        *,
        timezone('UTC', timezone($zone, try_cast(started as timestamp))) as begins,
        timezone('UTC', timezone($zone, try_cast(ended as timestamp))) as stops,
        to_seconds(((coalesce(try_cast(elapsed.d as bigint), 0) * 24 + try_cast(elapsed.h as bigint)) * 60
            + try_cast(elapsed.m as bigint)) * 60 + try_cast(elapsed.s as bigint)) as ran,
        try_cast(regexp_extract(tres, '(?:^|,)gres/gpu=(\d+)', 1) as integer) as any_gpus,
        regexp_extract_all(tres, '(?:^|,)gres/gpu:([^=,]+)=\d+', 1) as kinds,
        list_sum(list_transform(regexp_extract_all(tres, '(?:^|,)gres/gpu:[^=,]+=(\d+)', 1), lambda n: n::integer)) as typed_gpus
    from fields
),
jobs as (
    select *, if(ended = 'Unknown', begins + ran, stops) as until, coalesce(any_gpus, typed_gpus, 0)::integer as gpus
    from clocked
)
select
    raw_id || '@' || strftime(begins, '%Y-%m-%dT%H:%M:%SZ') as event_id,
    $cluster as cluster,
    nullif(nodes, '') as node,
    case when len(kinds) = 1 then kinds[1] end as gpu_model,
    1 as slice_num,
    1 as slice_den,
    'job' as holder_kind,
    job_id as holder_id,
    nullif(account, '') as account,
    gpus,
    begins as interval_start,
    until as interval_end,
    date_diff('second', begins, until) as held_seconds,
    nullif(regexp_extract(state, '^[A-Z_]+'), '') as state,
    source_row,
    case
        when job_id = 'JobID' then 'header'
        when field_count < $fields then 'too_few_fields'
        when contains(job_id, '.') then 'job_step'
        when started in ('Unknown', 'None') then 'not_started'
        when begins is null or until is null or until < begins then 'bad_time'
        when gpus = 0 then 'no_gpu'
    end as reject
from jobs
order by source_row
"""

FORMAT = Format("sacct", "gpu", (".log", ".txt", ".log.gz", ".txt.gz"), read, line_records=True)
