-- Clusters whose GPUs were used by less than the policy's percentage for more than so many hours on end. A stretch is told once, with its hours up to
-- the end of the day on which it has lasted that long. An hour without any GPU is none.
-- grain: cluster, gpu_model, window_start
--   window_start: the first hour
--   window_end: end of the last hour that is told
--   actual: percent of the GPU time that was used
--   idle_hours: GPU-hours that were not used
--   cost_impact: what they cost, at the cluster's cost and GPU-hours of their days; NULL where the cost of one of these days is not known
with hourly as (
    select
        cluster, gpu_model, usage_hour, usage_date,
        (coalesce(sum(gpu_seconds) filter (use = 'used'), 0) * 1000000)::hugeint as used, (sum(gpu_seconds) * 1000000)::hugeint as provided
    from gpu_hourly
    where usage_date <= $through and usage_date > $through::date - 63
    group by all
),
low as (
    select h.*, r.hours, h.usage_hour - to_hours(row_number() over (partition by h.cluster, h.gpu_model order by h.usage_hour)) as stretch
    from hourly h
    join policy_alert_rules r on r.kind = 'gpu_idle'
    where h.provided > 0 and h.used * 10000 < h.provided * (r.percent * 100)::hugeint
),
long as (
    select *, min(usage_hour) over whole as began, count(*) over whole as lasted
    from low
    window whole as (partition by cluster, gpu_model, stretch)
),
shown as (
    select *, (began + to_hours(hours))::date as raised_on
    from long
    where lasted > hours and usage_date <= (began + to_hours(hours))::date
),
costs as (
    select cluster, model as gpu_model, usage_date, sum(pico(effective_cost))::hugeint as units
    from charge_portions
    where gpu_use is not null and cluster is not null
    group by all
),
provided as (
    select *, sum(us) over (partition by cluster, usage_date)::hugeint as cluster_us
    from (select cluster, gpu_model, usage_date, sum(provided)::hugeint as us from hourly group by all)
),
-- What is billed for a whole cluster is each of its models' by the time that its GPUs stood there.
priced as (
    select
        p.cluster, p.gpu_model, p.usage_date, p.us,
        sum(case when c.gpu_model is null then c.units * p.us // nullif(p.cluster_us, 0) else c.units end)::hugeint as units
    from provided p
    join costs c on c.cluster = p.cluster and c.usage_date = p.usage_date and coalesce(c.gpu_model, p.gpu_model) is not distinct from p.gpu_model
    group by all
)
select
    s.cluster, s.gpu_model, s.raised_on, min(s.usage_hour) as window_start, max(s.usage_hour) + interval 1 hour as window_end,
    (sum(s.used) * 10000 // sum(s.provided) * 0.01::decimal(3, 2))::decimal(18, 2) as actual,
    ((sum(s.provided - s.used) // 3600)::decimal(38, 0) * 0.000001::decimal(6, 6))::decimal(38, 6) as idle_hours,
    case when count(p.units) = count(*) then money(sum((s.provided - s.used) // 1000000 * p.units // greatest(p.us // 1000000, 1))::hugeint) end as cost_impact
from shown s
left join priced p on p.cluster = s.cluster and p.gpu_model is not distinct from s.gpu_model and p.usage_date = s.usage_date
group by s.cluster, s.gpu_model, s.raised_on, s.began
