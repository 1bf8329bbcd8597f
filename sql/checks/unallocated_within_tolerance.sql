-- Cost of a month's own usage that found no owner, tax aside, stays within the tolerance of close.yaml. severity: close
with shares as (
    select
        period,
        coalesce(sum(effective_cost) filter (team_id = 'unallocated' and activity <> 'tax'), 0) as unallocated,
        coalesce(sum(effective_cost) filter (activity <> 'tax'), 0) as total
    from ledger
    where version = 0 and original_period = period and ($only_period is null or period = $only_period)
    group by all
)
select s.period, s.unallocated, s.total, c.unallocated_percent as tolerance_percent
from shares s
cross join policy_close c
where abs(s.unallocated) * 100 > abs(s.total) * c.unallocated_percent
