-- Sources that are late by their own rhythm: the upper median of the days by which their last eight deliveries moved on, and so many days of grace. By the days
-- that deliveries tell of, not by when they came, so that a day says the same whenever it is looked at. One that never delivered has no rhythm.
-- grain: source_kind, source, raised_on
--   last_day: the last day it told of
--   usual_days: days by which a delivery usually moves on
--   silent_days: days without it on the day of the alert
--   came_again: the first day it told of afterwards; NULL while it is silent
with told as (
    select distinct f.kind as source_kind, f.source, f.last_day
    from source_files f
    join policy_sources s on s.kind = f.kind and s.source = f.source
    where f.state = 'landed' and f.last_day is not null and f.last_day <= $through
),
begun as (
    select f.kind as source_kind, f.source, f.last_day, min(f.first_day) as first_day from source_files f where f.state = 'landed' and f.last_day is not null group by all
),
moved as (
    select
        t.*, b.first_day,
        coalesce(t.last_day - lag(t.last_day) over steps, t.last_day - b.first_day + 1) as step,
        lead(t.last_day) over steps as next_last_day
    from told t
    join begun b on b.source_kind = t.source_kind and b.source = t.source and b.last_day = t.last_day
    window steps as (partition by t.source_kind, t.source order by t.last_day)
),
paced as (
    select
        m.*,
        list_sort(list(step) over (partition by source_kind, source order by last_day rows between 7 preceding and current row)) as steps
    from moved m
),
-- Where the days told of go on after a gap.
judged as (
    select
        p.*, p.steps[len(p.steps) // 2 + 1] as usual_days, r.days as grace,
        (select min(n.first_day) from moved n where n.source_kind = p.source_kind and n.source = p.source and n.last_day > p.last_day) as next_day
    from paced p
    join policy_alert_rules r on r.kind = 'source_silent'
)
select
    source_kind, source, last_day + (usual_days + grace + 1)::integer as raised_on, last_day, usual_days, (usual_days + grace + 1)::bigint as silent_days,
    next_day as came_again
from judged
where last_day + (usual_days + grace)::integer < least($through::date, coalesce(next_day - 1, $through::date))
