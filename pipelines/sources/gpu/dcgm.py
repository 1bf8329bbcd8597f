"""NVIDIA's dcgm-exporter through Prometheus' `query_range`: hourly, which pod or job held which card and how much of it worked.

    DCGM_FI_PROF_GR_ENGINE_ACTIVE (a ratio; works for slices too) or DCGM_FI_DEV_GPU_UTIL (a percentage), and any other
    DCGM_FI_ metric: a series says that the card is there, and its labels who has it.

A card without a pod is held by nobody. Where Prometheus does not honour the exporter's labels, the plain `pod` is the
exporter itself and the holder is in `exported_pod`. A slice is (UUID, GPU_I_ID): UUID is the whole card's. Counters
belong to the device: pods that have a card at the same time share it in equal parts, with the same activity. Blank values
(2^63 - 64 and above, NaN) are no data. `source_row` numbers the rows as they are made: series, then hours.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.gpu import cards
from pipelines.sources.gpu.prometheus import CARRIED, HOUR, cover, load_range, named_start
from pipelines.sources.reading import create_parsed, macros

BLANK = 2**63 - 64


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per holder, card or slice, and hour; one per series that cannot be read; one per series with absurd values."""
    macros(con)
    cards.macros(con)
    load_range(con, delivery)
    for table, select in (("devices", DEVICES), ("readings", READINGS), ("holders", HOLDERS)):
        con.execute(f"create or replace temp table {table} as {select}")
    cover(con, "select card as clock, seen_at from holders")
    create_parsed(con, "gpu", SELECT, {"cluster": source.cluster})


DEVICES = r"""
with labelled as (
    select
        n,
        label(labels, '__name__') as metric,
        label(labels, 'UUID') as card,
        label(labels, 'GPU_I_ID') as instance,
        label(labels, 'GPU_I_PROFILE') as profile,
        label(labels, 'modelName') as model,
        coalesce(label(labels, 'Hostname'), label(labels, 'hostname'), label(labels, 'exported_node'), label(labels, 'node')) as node,
        label(labels, 'hpc_job') as job,
        label(labels, 'pod') as plain_pod,
        label(labels, 'namespace') as plain_namespace,
        coalesce(label(labels, 'exported_pod'), label(labels, 'pod_name')) as named_pod,
        coalesce(label(labels, 'exported_namespace'), label(labels, 'pod_namespace')) as named_namespace,
        coalesce(label(labels, 'exported_pod'), label(labels, 'exported_namespace'), label(labels, 'exported_container')) is not null
            as renamed,
        problem
    from series
),
told as (
    select
        *,
        renamed or named_pod is not null or plain_pod is null or contains(plain_pod, 'dcgm-exporter')
            or plain_pod in (select plain_pod from labelled where renamed and plain_pod is not null) as plain_is_exporter
    from labelled
)
select
    * exclude (problem, plain_pod, plain_namespace, named_pod, named_namespace, renamed, plain_is_exporter),
    if(plain_is_exporter, named_pod, plain_pod) as pod,
    if(plain_is_exporter, named_namespace, plain_namespace) as namespace,
    case
        when problem is not null then problem
        when metric is null or not starts_with(metric, 'DCGM_FI_') then 'other_metric'
        when card is null then 'no_gpu'
    end as problem
from told
"""

READINGS = f"""
with valued as (
    select
        d.n, d.metric, d.card, d.instance, d.job, d.pod, d.namespace, s.seen_at, s.value,
        case when is_number(s.value) then rounded(plain(s.value, 0)) end as number
    from devices d
    join samples s using (n)
    where d.problem is null and lower(s.value) <> 'nan'
)
select
    * exclude (value),
    number is null or number < 0 or (metric = 'DCGM_FI_PROF_GR_ENGINE_ACTIVE' and number > 1)
        or (metric = 'DCGM_FI_DEV_GPU_UTIL' and number > 100) as absurd
from valued
where number is null or number < {BLANK}
"""

HOLDERS = f"""
with present as (
    select
        card, instance, job, if(job is null, pod, null) as pod, namespace, seen_at, min(n) as n,
        max(case when metric = 'DCGM_FI_PROF_GR_ENGINE_ACTIVE' then number end) as ratio,
        max(case when metric = 'DCGM_FI_DEV_GPU_UTIL' then number end) as percent
    from readings
    where not absurd
    group by all
),
held as (
    select *, coalesce(job, pod) is null as free, coalesce(ratio, percent * 0.01::decimal(3, 2))::decimal(9, 6) as active
    from present
    qualify instance is not null or not bool_or(instance is not null) over (partition by card, seen_at)
),
shared as (
    select * exclude (ratio, percent), count(*) filter (not free) over (partition by card, instance, seen_at) as sharers
    from held
    qualify not free or sharers = 0
)
select
    * replace (if(sharers > 1, sharers, 1) as sharers),
    last_value(active ignore nulls) over (
        partition by card, instance, job, pod, namespace order by seen_at
        range between {CARRIED} * (select step from span) - 1 preceding and current row) as activity
from shared
"""

SELECT = f"""
with cards as (
    select card, max(model) as model, max(node) as node
    from devices
    where problem is null
    group by all
),
profiles as (
    select card, instance, max(profile) as profile
    from devices
    where problem is null and instance is not null
    group by all
),
hourly as (
    select
        h.card, h.instance, h.job, h.pod, h.namespace, h.sharers, h.activity is not null as measured, c.hour, min(h.n) as n,
        min(c.begins) as begins,
        max(c.ends) as ends,
        sum(c.ends - c.begins)::bigint as held,
        round_even(sum(h.activity * (c.ends - c.begins)), 0)::bigint as active
    from holders h
    join covered c on c.clock = h.card and c.seen_at = h.seen_at
    group by all
),
named as (
    select
        h.*, k.model, k.node, p.profile,
        concat_ws('/', {named_start("hour", HOUR)}, h.card, h.instance, h.namespace, coalesce(job, pod), if(sharers > 1, 'of ' || sharers, null))
            as id,
        coalesce(mig_slices(p.profile), 0) as slices,
        slices_of_card(k.model, p.profile) as slices_of_card
    from hourly h
    join span on true
    join cards k using (card)
    left join profiles p on p.card = h.card and p.instance = h.instance
),
rows as (
    select
        if(not measured and count(*) over (partition by id) > 1, id || '/unmeasured', id) as event_id,
        $cluster as cluster,
        node,
        card as gpu_uuid,
        model as gpu_model,
        if(instance is null, 1, slices)::integer as slice_num,
        (if(instance is null, 1, slices_of_card) * sharers)::integer as slice_den,
        case when job is not null then 'job' when pod is not null then 'pod' else 'none' end as holder_kind,
        coalesce(job, pod) as holder_id,
        if(pod is null, null, namespace) as namespace,
        1 as gpus,
        utc(begins) as interval_start,
        utc(ends) as interval_end,
        held as held_seconds,
        active as active_seconds,
        n,
        case when instance is not null and slices not between 1 and slices_of_card then 'unknown_mig_profile' end as reject
    from named
    union all by name
    select n, problem as reject
    from devices
    where problem is not null
    union all by name
    select n, 'absurd_value' as reject
    from readings
    where absurd
    group by n
    union all by name
    select n, 'no_data' as reject
    from devices
    where problem is null and n not in (select n from readings)
)
select * exclude (n), row_number() over (order by n, interval_start, event_id, reject) as source_row
from rows
order by source_row
"""

FORMAT = Format("dcgm", "gpu", (".json", ".json.gz"), read, document=True)
