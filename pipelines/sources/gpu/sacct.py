"""Slurm's `sacct --parsable2 --noheader`, twenty-six fields in the order XDMoD asks for; the job name is last.

    sacct --allusers --parsable2 --noheader --allocations --duplicates --format jobid,jobidraw,cluster,partition,qos,
    account,group,gid,user,uid,submit,eligible,start,end,elapsed,exitcode,state,nnodes,ncpus,reqcpus,reqmem,reqtres,
    alloctres,timelimit,nodelist,jobname

Every line is one row. A job that still runs is known up to the moment of the pull (start plus elapsed); a later pull of
it replaces it. A requeued job is one event per start. A job waits from when it was eligible, which leaves out what it waits for
by its own wish (a begin time, jobs it depends on); where that is not told, from when it was submitted. Failed, cancelled and preempted jobs held their GPUs as well. Elapsed
leaves out the time in which a job was suspended and held none. GPUs come from the generic entry of AllocTRES, else from the
typed ones together; a type may be a MIG profile. Lines that hold no GPU of their own are rejected, with the reason.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.gpu import cards
from pipelines.sources.reading import create_parsed, text_lines

FIELDS = 26
AT_ONCE = 50_000  # lines
GOING = (
    "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_HOLD", "SIGNALING", "STAGE_OUT", "STOPPED",
)  # fmt: skip
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "SPECIAL_EXIT", "TIMEOUT",
)  # fmt: skip


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`, one row per non-blank line. Times are in `source.time_zone` (UTC where it is not given)."""
    (path,) = delivery.paths
    con.execute("create or replace temp table sacct_lines(source_row bigint, f varchar[])")
    lines = text_lines(delivery, path)
    while some := list(islice(lines, AT_ONCE)):
        con.execute(
            "insert into sacct_lines select unnest($numbers), string_split(unnest($lines)::varchar, '|')",
            {"numbers": [number for number, _ in some], "lines": [line.rstrip("\r") for _, line in some]},
        )
    cards.macros(con)
    params = {
        "cluster": source.cluster,
        "zone": getattr(source, "time_zone", None) or "UTC",
        "fields": FIELDS,
        "going": list(GOING),
        "ended": list(ENDED),
    }
    create_parsed(con, "gpu", SELECT, params)


SELECT = r"""
with fields as (
    select
        source_row, len(f) as field_count, f[1] as job_id, f[2] as raw_id, f[6] as account, f[11] as submitted, f[12] as eligible, f[13] as started, f[14] as ended,
        regexp_extract(f[15], '^(?:(\d{1,5})-)?(\d{1,7}):(\d\d):(\d\d)$', ['d', 'h', 'm', 's']) as elapsed,
        nullif(regexp_extract(f[17], '^[A-Z_]+'), '') as state, f[23] as tres, nullif(nullif(f[25], ''), 'None assigned') as nodes
    from sacct_lines
),
clocked as (
    select
        *,
        timezone('UTC', timezone($zone, try_cast(started as timestamp))) as begins,
        timezone('UTC', timezone($zone, try_cast(ended as timestamp))) as stops,
        timezone('UTC', timezone($zone, coalesce(try_cast(eligible as timestamp), try_cast(submitted as timestamp)))) as could_run,
        ((coalesce(try_cast(elapsed.d as bigint), 0) * 24 + try_cast(elapsed.h as bigint)) * 60 + try_cast(elapsed.m as bigint)) * 60
            + try_cast(elapsed.s as bigint) as ran,
        nullif(regexp_extract(tres, '(?:^|,)gres/gpu=(\d+)', 1), '') as any_gpus,
        regexp_extract_all(tres, '(?:^|,)gres/gpu:([^=,]+)=\d+', 1) as kinds,
        regexp_extract_all(tres, '(?:^|,)gres/gpu:[^=,]+=(\d+)', 1) as typed_gpus
    from fields
),
counted as (
    select
        *,
        case
            when len(any_gpus) > 12 or len(list_filter(typed_gpus, lambda n: len(n) > 12)) > 0 then null
            else coalesce(try_cast(any_gpus as bigint), list_sum(list_transform(typed_gpus, lambda n: n::bigint)), 0)
        end as gpus,
        case when len(kinds) = 1 then kinds[1] end as kind
    from clocked
),
jobs as (
    select
        *,
        begins >= timestamp '2000-01-01' and coalesce(stops, begins) < timestamp '2200-01-01' as sane,
        if(ended = 'Unknown', begins + to_seconds(ran), stops) as until,
        if(ended = 'Unknown', ran, least(ran, date_diff('second', begins, stops))) as held
    from counted
)
select
    raw_id || '@' || strftime(begins, '%Y-%m-%dT%H:%M:%SZ') as event_id,
    $cluster as cluster,
    nodes as node,
    kind as gpu_model,
    coalesce(mig_slices(kind), 1) as slice_num,
    if(mig_slices(kind) is null, 1, slices_of_card(kind, kind)) as slice_den,
    'job' as holder_kind,
    job_id as holder_id,
    nullif(account, '') as account,
    try_cast(gpus as integer) as gpus,
    begins as interval_start,
    until as interval_end,
    held as held_seconds,
    case when could_run >= timestamp '2000-01-01' and could_run <= begins then date_diff('second', could_run, begins) end as queue_seconds,
    state,
    source_row,
    case
        when job_id = 'JobID' then 'header'
        when field_count < $fields then 'too_few_fields'
        when contains(job_id, '.') then 'job_step'
        when started in ('Unknown', 'None') or state = 'PENDING' then 'not_started'
        when state is null or not list_contains($going || $ended, state) then 'unknown_state'
        when ended = 'Unknown' and list_contains($ended, state) then 'ended_without_end'
        when begins is null or until is null or until < begins or not sane then 'bad_time'
        when gpus = 0 then 'no_gpu'
        when gpus is null or gpus > 1000000 then 'absurd_gpus'
        when mig_slices(kind) not between 1 and slices_of_card(kind, kind) then 'unknown_mig_profile'
    end as reject
from jobs
order by source_row
"""

FORMAT = Format("sacct", "gpu", (".log", ".txt", ".log.gz", ".txt.gz"), read, line_records=True)
