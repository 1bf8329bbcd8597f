-- Who held which GPU in which hour: jobs, pods and our own model servers. One card never counts for more than one card:
-- where its holders together held it longer than the hour lasts (cards shared by time), each counts in proportion.
-- grain: source, event_id, usage_hour
--   held_us: microseconds of whole cards that the holder reserved in the hour; a slice counts as its share of the card
--   active_us: those of held_us in which the card worked; NULL where nobody measured
--   queue_seconds: in the hour in which it started, how long it had waited for that; NULL in others, and where the source does not say
--   card_us: microseconds of the hour in which the holder had its card or its slice of one, whatever the slice
with kept as (
    select
        l.*,
        epoch_us(l.interval_start)::hugeint as starts_us,
        epoch_us(coalesce(l.interval_end, $as_of::date + interval 1 day))::hugeint as ends_us
    from landed_gpu l
    anti join event_losers x on x.delivery_id = l.delivery_id and x.source_row = l.source_row
    where l.holder_kind <> 'server'
),
hourly as (
    select
        k.*,
        h as usage_hour,
        greatest(epoch_us(h) - starts_us, 0)::hugeint as before,
        least(epoch_us(h) + 3600000000 - starts_us, ends_us - starts_us)::hugeint as after,
        ends_us - starts_us as length,
        coalesce(k.held_seconds::hugeint * 1000000, ends_us - starts_us) as total_held
    from kept k, lateral (
        select unnest(generate_series(
            date_trunc('hour', greatest(k.interval_start, $period_start::timestamp)),
            least(make_timestamp((ends_us - 1)::bigint), $period_end::timestamp - interval 1 microsecond,
                $as_of::timestamp + interval 1 day - interval 1 microsecond),
            interval 1 hour)) as h
    )
    where ends_us > starts_us
),
shared as (
    select
        *,
        total_held * after // length - total_held * before // length as card_us,
        (total_held * after // length - total_held * before // length) * gpus * coalesce(slice_num, 1) // coalesce(slice_den, 1) as share_us
    from hourly
),
crowded as (
    select cluster, gpu_uuid, usage_hour, sum(share_us) as together
    from shared
    where gpu_uuid is not null and holder_kind <> 'none'
    group by all
    having sum(share_us) > 3600000000
),
fitted as (
    select
        s.*,
        s.usage_hour::date as usage_date,
        case when c.together is null or s.holder_kind = 'none' then s.share_us
            else s.share_us * 3600000000 // c.together::hugeint end as held_us
    from shared s
    left join crowded c on c.cluster = s.cluster and c.gpu_uuid = s.gpu_uuid and c.usage_hour = s.usage_hour
),
-- What the contracts call the card: the longest declared name inside the logged one; the only one where there is only one.
declared as (
    select distinct f.cluster, f.gpu_model, f.usage_date, c.gpu_model as declared_model,
        contains(bare(f.gpu_model), bare(c.gpu_model)) as named
    from (select distinct cluster, gpu_model, usage_date from fitted) f
    join policy_gpu_capacity c on c.cluster = f.cluster and f.usage_date >= c.valid_from and f.usage_date < c.valid_to
),
named as (
    select cluster, gpu_model, usage_date,
        coalesce(
            arg_max(declared_model, length(declared_model)) filter (named),
            case when count(*) = 1 then any_value(declared_model) end) as declared_model
    from declared
    group by all
)
select
    f.source, f.event_id, f.usage_hour, f.usage_date, f.cluster, f.node, f.gpu_uuid,
    coalesce(m.declared_model, f.gpu_model) as gpu_model,
    f.slice_num, f.slice_den, f.holder_kind, f.holder_id, f.account, f.namespace, f.capacity_type,
    p.serving_pool,
    coalesce(case when p.serving_pool is null and f.holder_kind <> 'none' then coalesce(a.team_id, n.team_id) end, 'unallocated') as team_id,
    coalesce(a.project_id, n.project_id) as project_id,
    f.state, f.gpus,
    case when f.usage_hour = date_trunc('hour', f.interval_start) then f.queue_seconds end as queue_seconds,
    f.card_us::hugeint as card_us,
    f.held_us::hugeint as held_us,
    (f.held_us * least(f.active_seconds::hugeint * 1000000, f.total_held) // nullif(f.total_held, 0))::hugeint as active_us,
    f.source_file, f.source_row
from fitted f
left join named m on m.cluster = f.cluster and m.gpu_model is not distinct from f.gpu_model and m.usage_date = f.usage_date
left join policy_serving_namespaces p on p.source = f.source and p.namespace = f.namespace
left join policy_belongs a on a.kind = 'slurm_account' and a.value = f.account
    and f.usage_date >= a.valid_from and f.usage_date < a.valid_to
left join policy_belongs n on n.kind = 'namespace' and n.value = f.namespace
    and f.usage_date >= n.valid_from and f.usage_date < n.valid_to
