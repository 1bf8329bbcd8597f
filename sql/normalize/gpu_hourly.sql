-- What every hour of GPU capacity was used for, and by whom.
-- use: used; idle_reserved (held, but the card did not work); idle_stranded (the rest of a card of which slices were held);
-- idle_unallocated (nobody held it). Where nobody measured whether a held card worked, all of it counts as used.
-- grain: usage_hour, cluster, gpu_model, capacity_type, use, team_id, project_id, serving_pool
--   team_id: whose jobs and pods; unallocated where nobody knows, for our own model servers (shared by tokens) and for free cards
--   use: used, idle_reserved, idle_stranded or idle_unallocated, as above
--   capacity_type: on_demand, spot, reserved or owned, on days on which every holder of the cluster's model names one
--   gpu_seconds: seconds of whole cards
with typed as (
    select cluster, gpu_model, usage_date, bool_and(capacity_type is not null) as is_typed
    from gpu_hours
    where usage_period = $period
    group by all
),
hours as (
    select h.* replace (case when t.is_typed then h.capacity_type end as capacity_type)
    from gpu_hours h
    join typed t on t.cluster = h.cluster and t.gpu_model is not distinct from h.gpu_model and t.usage_date = h.usage_date
    where h.usage_period = $period
),
held as (
    select usage_hour, cluster, gpu_model, capacity_type, team_id, project_id, serving_pool,
        sum(coalesce(active_us, held_us)) as used, sum(held_us) - sum(coalesce(active_us, held_us)) as idle_reserved
    from hours
    where holder_kind <> 'none'
    group by all
),
sliced_cards as (
    select usage_hour, cluster, gpu_model, capacity_type, greatest(max(card_us) - sum(held_us), 0) as rest
    from hours
    where holder_kind <> 'none' and slice_den > 1 and gpu_uuid is not null
    group by usage_hour, cluster, gpu_model, capacity_type, gpu_uuid
),
stranded as (
    select usage_hour, cluster, gpu_model, capacity_type, sum(rest) as idle_stranded
    from sliced_cards
    group by all
),
-- What stands there: declared capacity; without it, the free cards that the source itself reports.
standing as (
    select
        d + to_hours(h::integer) as usage_hour, c.cluster, c.gpu_model,
        case when coalesce(t.is_typed, true) then c.capacity_type end as capacity_type,
        sum(c.gpus)::hugeint * 3600000000 as capacity
    from policy_gpu_capacity c,
        lateral (
            select unnest(generate_series(
                greatest(c.valid_from, $period_start::date)::timestamp,
                least(c.valid_to - 1, $period_end::date - 1, $as_of::date)::timestamp, interval 1 day)) as d
        )
    cross join range(24) as clock(h)
    left join typed t on t.cluster = c.cluster and t.gpu_model = c.gpu_model and t.usage_date = d::date
    group by all
),
free as (
    select usage_hour, cluster, gpu_model, capacity_type, sum(held_us) as reported
    from hours
    where holder_kind = 'none'
    group by all
),
taken as (
    select usage_hour, cluster, gpu_model, capacity_type, sum(used + idle_reserved) as held
    from held
    group by all
),
unallocated as (
    select
        coalesce(s.usage_hour, f.usage_hour) as usage_hour, coalesce(s.cluster, f.cluster) as cluster,
        coalesce(s.gpu_model, f.gpu_model) as gpu_model, coalesce(s.capacity_type, f.capacity_type) as capacity_type,
        case when s.capacity is null then f.reported
            else greatest(s.capacity - coalesce(t.held, 0) - coalesce(x.idle_stranded, 0), 0) end as idle_unallocated
    from standing s
    full join free f on f.usage_hour = s.usage_hour and f.cluster = s.cluster and f.gpu_model = s.gpu_model
        and f.capacity_type is not distinct from s.capacity_type
    left join taken t on t.usage_hour = s.usage_hour and t.cluster = s.cluster and t.gpu_model = s.gpu_model
        and t.capacity_type is not distinct from s.capacity_type
    left join stranded x on x.usage_hour = s.usage_hour and x.cluster = s.cluster and x.gpu_model = s.gpu_model
        and x.capacity_type is not distinct from s.capacity_type
),
uses as (
    from (unpivot held on used, idle_reserved into name use value us)
    union all by name
    from (unpivot stranded on idle_stranded into name use value us)
    union all by name
    from (unpivot unallocated on idle_unallocated into name use value us)
)
select
    usage_hour, usage_hour::date as usage_date, cluster, gpu_model, capacity_type, use, coalesce(team_id, 'unallocated') as team_id, project_id, serving_pool,
    (us::decimal(38, 0) * 0.000001::decimal(6, 6))::decimal(38, 6) as gpu_seconds
from uses
where us > 0
