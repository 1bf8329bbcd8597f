-- Applications whose last seven days cost more than the seven before, on the first day on which they do (not again within a week). Days that an
-- anomaly of their team tells count as usual, so that one bad day is not told twice. A week of nothing before is no growth.
-- grain: application, team_id, raised_on
--   window_start: first day of the week
--   window_end: end of its last day
--   expected: what the seven days before cost, direct and recurring, in the company's currency
--   actual: what the week cost
with told as (
    select distinct owner_team as team_id, usage_date from anomalies where direction = 'rise' and part_of is null and owner_team is not null
),
daily as (
    select
        l.scope_id as application, l.team_id, l.usage_date, l.known_days,
        case when t.team_id is not null and l.expected is not null then least(pico(l.cost), pico(l.expected)) else pico(l.cost) end as units
    from cost_levels l
    left join told t on t.team_id = l.team_id and t.usage_date = l.usage_date
    where l.scope = 'application'
),
weeks as (
    select
        *,
        sum(units) over (partition by application, team_id order by usage_date rows between 6 preceding and current row) as this_week,
        sum(units) over (partition by application, team_id order by usage_date rows between 13 preceding and 7 preceding) as last_week
    from daily
),
judged as (
    select
        w.*,
        w.known_days >= 13 and w.last_week > 0 and w.this_week - w.last_week >= pico(r.amount)
            and (w.this_week - w.last_week) * 10000 >= w.last_week * (r.percent * 100)::hugeint as grows
    from weeks w
    join policy_alert_rules r on r.kind = 'feature_growth'
),
first_days as (
    select *, coalesce(bool_or(grows) over (
        partition by application, team_id order by usage_date rows between 7 preceding and 1 preceding), false) as grew_before
    from judged
)
select
    application, team_id, usage_date as raised_on, (usage_date - 6)::timestamp as window_start, (usage_date + 1)::timestamp as window_end,
    money(last_week::hugeint) as expected, money(this_week::hugeint) as actual
from first_days
where grows and not grew_before
