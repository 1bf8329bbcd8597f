-- What the GPUs of each cluster were used for in a month, in hours and in money: the bill is the sum of the uses.
-- grain: period, cluster, use
--   use: used, unattributed (a model server worked, and no gateway logged it), idle_reserved, idle_stranded, idle_unallocated
--   gpu_hours: whole-card hours; NULL for unattributed, whose hours are in used
with cost as (
    select usage_period as period, cluster, gpu_use as use, sum(effective_cost)::decimal(38, 12) as effective_cost
    from charge_portions
    where gpu_use is not null
    group by all
),
hours as (
    select usage_period as period, cluster, use, sum((gpu_seconds * 1000000)::hugeint) // 3600 as millionths
    from gpu_hourly
    group by all
)
select
    coalesce(c.period, h.period) as period,
    coalesce(c.cluster, h.cluster) as cluster,
    coalesce(c.use, h.use) as use,
    (h.millionths::decimal(38, 0) * 0.000001::decimal(6, 6))::decimal(38, 6) as gpu_hours,
    coalesce(c.effective_cost, 0)::decimal(38, 12) as effective_cost
from cost c
full join hours h on h.period = c.period and h.cluster = c.cluster and h.use = c.use
