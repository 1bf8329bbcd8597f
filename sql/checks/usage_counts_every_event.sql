-- The rollup counts every event that was landed and not lost to a duplicate, once. severity: fail
with landed as (
    select usage_date, sum(rows) as events from delivery_days where kind = 'gateway' group by all
),
lost as (
    select x.usage_date, count(*) as events
    from event_losers x
    join (select distinct source from source_files where kind = 'gateway') g on g.source = x.source
    group by all
),
rolled as (
    select usage_date, sum(events) as events from usage_daily group by all
)
select r.usage_date, coalesce(l.events, 0) - coalesce(x.events, 0) as landed, r.events as rolled_up
from rolled r
left join landed l on l.usage_date = r.usage_date
left join lost x on x.usage_date = r.usage_date
where coalesce(l.events, 0) - coalesce(x.events, 0) <> r.events
