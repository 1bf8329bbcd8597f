-- How well the GPUs of each cluster and model were used in a month, and what that cost. Utilization is hours that were held and worked of
-- all hours that stood there; where nobody measured whether a held card worked, it counts as used. Idle cost is a line of its own, in no rate.
-- How long jobs waited for a card is in gpu_queue.
-- grain: period, cluster, gpu_model
--   provisioned_hours: whole-card hours that stood there
--   used_hours: held and working
--   serving_hours: the part of used_hours of our own model servers: inference
--   job_hours: the part of used_hours of jobs and pods: training and the like
--   idle_reserved_hours: held, and the card did not work
--   idle_stranded_hours: the rest of cards of which a slice was held
--   idle_unallocated_hours: held by nobody
--   utilization_percent: used_hours of provisioned_hours; NULL where nothing stood there
--   allocated_percent: hours that somebody held, working or not, of provisioned_hours
--   cost: what these GPUs cost, in the company's currency; a cluster of several models is split by provisioned hours, use by use
--   inference_cost: of our own model servers
--   training_cost: of jobs and pods
--   idle_cost: of hours that were not used
--   cost_per_used_hour: cost for each used hour: everything absorbed
--   cost_per_provisioned_hour: cost for each hour that stood there
--   cluster_models: GPU models in the cluster; with one, costs are not split
--   flag: beyond_capacity where more was held than stood there, cost_missing where no bill or declared rate covers the hours, or NULL
with uses as (
    select
        p.period, g.cluster, g.gpu_model, g.use, g.serving_pool is not null as is_serving, sum(pico(g.gpu_seconds))::hugeint as seconds
    from gpu_hourly g
    join periods p on g.usage_date >= p.starts_on and g.usage_date < p.ends_on
    where g.usage_date <= $through
    group by all
),
-- A use that the bill knows and no hour shows, such as work of a server that no gateway logged, is a use of the server's hours.
cost as (
    select
        p.usage_period as period, p.cluster, case when p.gpu_use = 'unattributed' then 'used' else p.gpu_use end as use,
        p.activity = 'inference' as is_serving,
        sum(exchanged(p.effective_cost, case when p.billing_currency = o.currency then 1 else f.rate end))::hugeint as units
    from charge_portions p
    cross join policy_company o
    left join exchange_rates f on f.period = p.usage_period and f.currency = p.billing_currency
    where p.gpu_use is not null and p.usage_date <= $through
    group by all
),
hours as (
    select *, coalesce(gpu_model, '') as named from uses
),
split as (
    select
        h.period, h.cluster, h.gpu_model, h.use, h.is_serving, h.seconds, c.units,
        sum(h.seconds) over (pot order by h.named rows unbounded preceding)::hugeint as high, sum(h.seconds) over pot::hugeint as whole
    from hours h
    left join cost c on c.period = h.period and c.cluster = h.cluster and c.use = h.use and (h.use <> 'used' or c.is_serving = h.is_serving)
    window pot as (partition by h.period, h.cluster, h.use, case when h.use = 'used' then h.is_serving end)
),
known as (
    select *, cut(units, (high - seconds) // 1000000, high // 1000000, nullif(whole // 1000000, 0)) as part from split
),
sums as (
    select
        period, cluster, gpu_model,
        sum(seconds)::hugeint as provisioned,
        coalesce(sum(seconds) filter (use = 'used'), 0)::hugeint as used,
        coalesce(sum(seconds) filter (use = 'used' and is_serving), 0)::hugeint as serving,
        coalesce(sum(seconds) filter (use = 'idle_reserved'), 0)::hugeint as reserved,
        coalesce(sum(seconds) filter (use = 'idle_stranded'), 0)::hugeint as stranded,
        coalesce(sum(seconds) filter (use = 'idle_unallocated'), 0)::hugeint as unallocated,
        sum(part)::hugeint as units,
        coalesce(sum(part) filter (use = 'used' and is_serving), 0)::hugeint as inference,
        coalesce(sum(part) filter (use = 'used' and not is_serving), 0)::hugeint as training,
        coalesce(sum(part) filter (use <> 'used'), 0)::hugeint as idle,
        count(*) filter (units is null) as without_cost
    from known
    group by all
),
-- What stood there, where it is declared: more than that cannot be used.
declared as (
    select p.period, c.cluster, c.gpu_model, sum(c.gpus::hugeint * greatest(least(c.valid_to, p.ends_on, $through::date + 1) - greatest(c.valid_from, p.starts_on), 0) * 24) as hours
    from policy_gpu_capacity c
    join periods p on c.valid_from < p.ends_on and c.valid_to > p.starts_on
    group by all
)
select
    s.period, s.cluster, s.gpu_model, o.currency,
    money(s.provisioned // 3600) as provisioned_hours, money(s.used // 3600) as used_hours, money(s.serving // 3600) as serving_hours,
    money((s.used - s.serving) // 3600) as job_hours, money(s.reserved // 3600) as idle_reserved_hours, money(s.stranded // 3600) as idle_stranded_hours,
    money(s.unallocated // 3600) as idle_unallocated_hours,
    percent_of(money(s.used), money(s.provisioned)) as utilization_percent,
    percent_of(money(s.used + s.reserved), money(s.provisioned)) as allocated_percent,
    money(s.units) as cost, case when s.units is not null then money(s.inference) end as inference_cost,
    case when s.units is not null then money(s.training) end as training_cost, case when s.units is not null then money(s.idle) end as idle_cost,
    for_each(money(s.units), money(s.used // 3600)) as cost_per_used_hour,
    for_each(money(s.units), money(s.provisioned // 3600)) as cost_per_provisioned_hour,
    count(*) over (partition by s.period, s.cluster) as cluster_models,
    case when money(s.provisioned // 3600) > d.hours then 'beyond_capacity' when s.without_cost > 0 then 'cost_missing' end as flag
from sums s
cross join policy_company o
left join declared d on d.period = s.period and d.cluster = s.cluster and d.gpu_model = s.gpu_model
