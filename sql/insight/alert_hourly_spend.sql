-- Days of a team with hours that cost more than is usual at this hour: the lower median of the same hour of working days, or of weekends, in the
-- 28 days before. By what the calls should have cost, so that no bill has to come first. A team's first 14 days are left out.
-- grain: team_id, raised_on
--   window_start: the first such hour
--   window_end: end of the last one
--   expected: what these hours cost usually, in the company's currency
--   actual: what they cost
--   hours: how many they are
with hourly as (
    select team_id, usage_date, hour(usage_hour) as clock, sum(pico(contracted_cost))::hugeint as units
    from usage_hourly
    where team_id <> 'unallocated' and usage_date <= $through and usage_date > $through::date - 186
    group by all
),
spans as (
    select team_id, min(usage_date) as first_day from hourly group by all
),
filled as (
    select s.team_id, s.first_day, t.day::date as usage_date, c.clock, dayofweek(t.day) in (0, 6) as is_weekend, coalesce(h.units, 0)::hugeint as units
    from spans s
    cross join lateral (select unnest(generate_series(s.first_day::timestamp, $through::timestamp, interval 1 day)) as day) t
    cross join (select unnest(range(24)) as clock) c
    left join hourly h on h.team_id = s.team_id and h.usage_date = t.day::date and h.clock = c.clock
),
before as (
    select
        *,
        list_sort(list(units) over (
            partition by team_id, is_weekend, clock order by usage_date
            range between interval 28 day preceding and interval 1 day preceding)) as usual
    from filled
),
flagged as (
    select b.team_id, b.usage_date, b.usage_date + to_hours(b.clock) as usage_hour, b.units, b.usual[(len(b.usual) + 1) // 2] as expected
    from before b
    join policy_alert_rules r on r.kind = 'hourly_spend'
    where b.usage_date - b.first_day >= 14 and len(b.usual) > 0 and b.units > 0
        and b.units - expected >= pico(r.amount) and (b.units - expected) * 10000 >= abs(expected) * (r.percent * 100)::hugeint
)
select
    team_id, usage_date as raised_on, min(usage_hour) as window_start, max(usage_hour) + interval 1 hour as window_end,
    money(sum(expected)::hugeint) as expected, money(sum(units)::hugeint) as actual, count(*) as hours
from flagged
group by all
