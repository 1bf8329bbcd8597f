-- What each charge for GPUs paid for: its cost hour by hour, over what the hour's cards were used for and who held them.
-- Hours are priced before they are summed, so that who works at cheap hours pays cheap hours.
-- grain: charge_id, use, team_id, project_id, serving_pool
--   weight: pico-units of the charge's effective cost
with charged as (
    select * from origin_charges
    where usage_period = $period and cluster is not null and activity in ('training', 'inference') and charge_category = 'Usage'
),
declared_hours as (
    select c.charge_id, c.usage_date + to_hours(r.hour_of_day) as usage_hour, sum(pico(g.gpus * r.rate)) as cost
    from charged c
    join policy_gpu_capacity g on c.origin = 'declared' and g.cluster = c.cluster and g.gpu_model = c.model and g.provider = c.provider
        and coalesce(g.capacity_type, 'standard') = c.service_tier
        and c.usage_date >= g.valid_from and c.usage_date < g.valid_to
    join policy_gpu_rates r on r.entry = g.entry
    group by all
),
billed_lines as (
    select
        l.charge_id, greatest(pico(l.effective_cost), 0) as cost,
        date_trunc('hour', greatest(l.charge_period_start, l.usage_date::timestamp)) as first_hour,
        date_trunc('hour', greatest(least(l.charge_period_end, l.usage_date + interval 1 day) - interval 1 microsecond,
            greatest(l.charge_period_start, l.usage_date::timestamp))) as last_hour
    from bill_lines l
    where l.usage_period = $period and l.in_scope and l.cluster is not null
),
billed_hours as (
    select charge_id, h as usage_hour, sum(cost // (date_diff('hour', first_hour, last_hour) + 1)) as cost
    from billed_lines, lateral (select unnest(generate_series(first_hour, last_hour, interval 1 hour)) as h)
    group by all
),
charge_hours as (
    select charge_id, usage_hour, cost from declared_hours
    union all by name
    select b.* from billed_hours b join charged c on c.charge_id = b.charge_id
),
-- A charge without cost still says what it was for: its hours count alike.
weighed as (
    select c.charge_id, c.cluster, c.model,
        case when c.service_tier in ('on_demand', 'spot', 'reserved', 'owned') then c.service_tier end as capacity_type, h.usage_hour,
        case when sum(h.cost) over (partition by c.charge_id) > 0 then h.cost else 1000000 end::hugeint as cost
    from charged c
    join charge_hours h on h.charge_id = c.charge_id
),
used as (
    select
        w.charge_id, w.cost, g.use, g.team_id, g.project_id, g.serving_pool,
        (g.gpu_seconds * 1000000)::hugeint as us,
        sum((g.gpu_seconds * 1000000)::hugeint) over (partition by w.charge_id, w.usage_hour)::hugeint as hour_us
    from weighed w
    join gpu_hourly g on g.usage_period = $period and g.cluster = w.cluster and g.usage_hour = w.usage_hour
        and (w.model is null or g.gpu_model = w.model)
        and (w.capacity_type is null or g.capacity_type is null or g.capacity_type = w.capacity_type)
)
select
    charge_id, use, team_id, project_id, serving_pool,
    (sum(us)::decimal(38, 0) * 0.000001::decimal(6, 6))::decimal(38, 6) as gpu_seconds,
    sum(cost * us // hour_us)::hugeint as weight
from used
group by all
