"""kube-state-metrics through Prometheus' `query_range`: hourly, how many GPUs each pod asked for and so holds, on which node.

    kube_pod_container_resource_requests, kube_pod_init_container_resource_requests   who holds what
    kube_node_status_capacity, or kube_node_status_allocatable                        what is there: the rest is held by nobody
    kube_pod_status_phase                                                             a finished pod holds nothing any more
    kube_node_labels                                                                  the card's model, and replicas of a shared card

A pod holds the greater of what its containers ask for together and what one of its init containers asks for. Which card
it got is not known here. A share of a card (time slicing, MPS) is one of its `replicas`: the node's label
nvidia.com/gpu.replicas, else the source's `replicas`, by node (with * and ?) or by resource. `source_row` numbers the rows
as they are made: series, then hours.
"""

from __future__ import annotations

from typing import Any

import duckdb

from pipelines.sources import Delivery, Format
from pipelines.sources.gpu import cards
from pipelines.sources.gpu.prometheus import HOUR, cover, load_range, named_start
from pipelines.sources.reading import create_parsed, macros

MOST = 1_000_000  # GPUs of one pod or node


def read(con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
    """`parsed`: one row per pod (or free rest of a node), resource and hour; one per series that cannot be read."""
    macros(con)
    cards.macros(con)
    load_range(con, delivery)
    replicas = getattr(source, "replicas", None) or {}
    params = {"patterns": [str(name) for name in replicas], "replicas": [int(count) for count in replicas.values()]}
    con.execute(f"create or replace temp table requested as {REQUESTED}", params)
    con.execute(f"create or replace temp table counts as {COUNTS}")
    con.execute(f"create or replace temp table holders as {HOLDERS}")
    cover(con, "select '' as clock, seen_at from counts")
    create_parsed(con, "gpu", SELECT, {"cluster": source.cluster})


REQUESTED = r"""
with labelled as (
    select
        n,
        problem,
        label(labels, '__name__') as metric,
        coalesce(label(labels, 'exported_namespace'), label(labels, 'namespace')) as namespace,
        coalesce(label(labels, 'exported_pod'), label(labels, 'pod')) as pod,
        coalesce(label(labels, 'uid'), '') as uid,
        coalesce(label(labels, 'exported_node'), label(labels, 'node')) as node,
        label(labels, 'phase') as phase,
        regexp_replace(label(labels, 'resource'), '[./-]', '_', 'g') as resource,
        label(labels, 'label_nvidia_com_gpu_product') as model,
        try_cast(label(labels, 'label_nvidia_com_gpu_replicas') as integer) as labelled_replicas
    from series
),
named as (
    select
        * exclude (model, labelled_replicas),
        max(model) over (partition by node) as model,
        max(labelled_replicas) over (partition by node) as labelled_replicas,
        case
            when metric = 'kube_pod_container_resource_requests' then 'container'
            when metric = 'kube_pod_init_container_resource_requests' then 'init'
            when metric = 'kube_node_status_capacity' then 'capacity'
            when metric = 'kube_node_status_allocatable' then 'allocatable'
            when metric = 'kube_pod_status_phase' then 'phase'
            when metric = 'kube_node_labels' then 'labels'
        end as role,
        nullif(regexp_replace(regexp_extract(resource, '^nvidia_com_mig_(\d+g_\d+gb)', 1), '_', '.'), '') as profile,
        regexp_matches(resource, '^(nvidia_com_(gpu|mig_\d+g_\d+gb(_me)?)(_shared)?|amd_com_gpu|k8s_amazonaws_com_vgpu'
            || '|aws_amazon_com_neuron(device|core)?)$') as is_gpu,
        list_filter(range(len($patterns)), lambda i: node glob $patterns[i + 1]
            or resource = regexp_replace($patterns[i + 1], '[./-]', '_', 'g'))[1] as entry
    from labelled
),
shared as (
    select
        *,
        case
            when resource in ('nvidia_com_gpu', 'nvidia_com_gpu_shared', 'amd_com_gpu')
                then coalesce(labelled_replicas, $replicas[entry + 1], if(resource = 'nvidia_com_gpu_shared', null, 1))
            when ends_with(resource, '_shared') or resource in ('k8s_amazonaws_com_vgpu', 'aws_amazon_com_neuroncore')
                then $replicas[entry + 1]
            else 1
        end as replicas
    from named
)
select
    * exclude (problem, entry, labelled_replicas, is_gpu),
    case
        when problem is not null then problem
        when role is null then 'other_metric'
        when role in ('phase', 'labels') then null
        when is_gpu is not true then 'other_resource'
        when node is null then 'not_scheduled'
        when role in ('container', 'init') and pod is null then 'no_pod'
        when replicas is null or replicas < 1 then 'unknown_replicas'
        when profile is not null and mig_slices(profile) not between 1 and slices_of_card(model, profile) then 'unknown_mig_profile'
    end as problem
from shared
"""

COUNTS = f"""
with valued as (
    select r.*, s.seen_at, case when is_number(s.value) then rounded(plain(s.value, 0)) end as number
    from requested r
    join samples s using (n)
    where r.problem is null and r.role <> 'labels' and lower(s.value) <> 'nan'
)
select
    * exclude (number),
    try_cast(number as integer) as gpus,
    number is null or number not between 0 and {MOST} or number <> trunc(number) as absurd
from valued
"""

HOLDERS = """
with pods as (
    select
        node, namespace, pod, uid, resource, model, profile, replicas, seen_at, min(n) as n,
        greatest(
            coalesce(sum(gpus) filter (role = 'container'), 0),
            coalesce(max(gpus) filter (role = 'init'), 0))::integer as gpus
    from counts
    where not absurd and role in ('container', 'init')
    group by all
),
running as (
    select p.*
    from pods p
    anti join counts f on f.role = 'phase' and f.phase in ('Succeeded', 'Failed') and f.gpus = 1
        and f.namespace is not distinct from p.namespace and f.pod = p.pod and f.seen_at = p.seen_at
        and (f.uid = '' or p.uid = '' or f.uid = p.uid)
    where p.gpus > 0
),
nodes as (
    select node, resource, model, profile, replicas, seen_at, arg_max(n, role) as n, arg_max(gpus, role) as gpus  -- capacity before allocatable
    from counts
    where not absurd and role in ('capacity', 'allocatable')
    group by all
),
taken as (
    select node, resource, seen_at, sum(gpus) as gpus
    from running
    group by all
)
select * exclude (uid)
from running
union all by name
select n.* replace ((n.gpus - coalesce(t.gpus, 0))::integer as gpus)
from nodes n
left join taken t using (node, resource, seen_at)
where n.gpus > coalesce(t.gpus, 0)
"""

SELECT = f"""
with hourly as (
    select
        h.node, h.namespace, h.pod, h.resource, h.model, h.profile, h.replicas, h.gpus, c.hour, min(h.n) as n,
        min(c.begins) as begins,
        max(c.ends) as ends,
        sum(c.ends - c.begins)::bigint as held
    from holders h
    join covered c using (seen_at)
    group by all
),
rows as (
    select
        concat_ws('/', {named_start("hour", HOUR)}, node, resource, namespace, pod, gpus || ' gpus') as event_id,
        $cluster as cluster,
        node,
        model as gpu_model,
        coalesce(mig_slices(profile), 1) as slice_num,
        (if(profile is null, 1, slices_of_card(model, profile)) * replicas)::integer as slice_den,
        if(pod is null, 'none', 'pod') as holder_kind,
        pod as holder_id,
        namespace,
        gpus,
        utc(begins) as interval_start,
        utc(ends) as interval_end,
        held as held_seconds,
        n,
        null::varchar as reject
    from hourly, span
    union all by name
    select n, problem as reject
    from requested
    where problem is not null
    union all by name
    select n, 'absurd_value' as reject
    from counts
    where absurd
    group by n
    union all by name
    select n, 'no_data' as reject
    from requested
    where problem is null and role <> 'labels' and n not in (select n from counts)
)
select * exclude (n), row_number() over (order by n, interval_start, event_id, reject) as source_row
from rows
order by source_row
"""

FORMAT = Format("k8s_gpu_requests", "gpu", (".json", ".json.gz"), read, document=True)
