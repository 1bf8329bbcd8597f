-- Who held which GPU on which day: jobs, pods and our own model servers.
-- grain: source, event_id, usage_date
--   gpu_seconds: whole-card seconds held on that day; a slice counts as its share of the card
with kept as (
    select l.*, coalesce(l.interval_end, $as_of::date + interval 1 day) as held_until
    from landed_gpu l
    anti join event_losers x on x.delivery_id = l.delivery_id and x.source_row = l.source_row
),
daily as (
    select
        k.*,
        d::date as usage_date,
        greatest(k.interval_start, d) as starts_at,
        least(k.held_until, d + interval 1 day) as ends_at
    from kept k, lateral (
        select unnest(generate_series(
            greatest(k.interval_start::date, $period_start::date)::timestamp,
            least((k.held_until - interval 1 microsecond)::date, $period_end::date - 1, $as_of::date)::timestamp,
            interval 1 day)) as d
    )
    where k.held_until > k.interval_start
)
select
    d.source,
    d.event_id,
    d.usage_date,
    d.cluster,
    d.node,
    d.gpu_uuid,
    d.gpu_model,
    d.holder_kind,
    d.holder_id,
    d.account,
    d.namespace,
    p.serving_pool,
    case when p.serving_pool is null then coalesce(a.team_id, n.team_id, 'unallocated') end as team_id,
    coalesce(a.project_id, n.project_id) as project_id,
    d.state,
    d.starts_at,
    d.ends_at,
    d.gpus,
    ((case when d.held_seconds is not null and d.interval_end::date = d.interval_start::date
            or d.held_seconds < date_diff('second', d.starts_at, d.ends_at)
        then least(d.held_seconds, date_diff('second', d.starts_at, d.ends_at))
        else date_diff('second', d.starts_at, d.ends_at) end)::hugeint
        * d.gpus * coalesce(d.slice_num, 1) * 1000000 // coalesce(d.slice_den, 1))::decimal(38, 0)
        * 0.000001::decimal(6, 6) as gpu_seconds,
    d.source_file,
    d.source_row
from daily d
left join policy_serving_namespaces p on p.source = d.source and p.namespace = d.namespace
left join policy_belongs a on a.kind = 'slurm_account' and a.value = d.account
    and d.usage_date >= a.valid_from and d.usage_date < a.valid_to
left join policy_belongs n on n.kind = 'namespace' and n.value = d.namespace
    and d.usage_date >= n.valid_from and d.usage_date < n.valid_to
