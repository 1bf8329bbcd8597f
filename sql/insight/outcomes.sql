-- What the business counted: of each metric and month the newest delivery. Where the whole month is told, single days of it do not count too.
-- grain: source, period, usage_date, team_id, project_id, application, metric
--   source: folder under data/landing/outcomes/
--   usage_date: the day; NULL where the row is about the whole month
--   team_id: the team it is about; `*` where it is not about one
--   metric: what was counted: conversations, tickets, documents, customers, revenue, human_cost ...
--   quantity: how many; of a metric of money, how much, in the company's currency
--   unit: the unit, as the file says
--   value: what they were worth, in the company's currency; NULL where nobody says
with arrivals as (
    select delivery_id, max(seq) as seq
    from source_files
    where kind = 'outcomes' and state = 'landed'
    group by all
),
-- A day is in the period that holds it; one before the first period is in none of ours, whatever its month is called.
newest as (
    select
        l.* exclude (period),
        case when l.usage_date is null then l.period
            else coalesce(p.period, least(l.period, strftime((select (min(period) || '-01')::date - 1 from periods), '%Y-%m'))) end as period
    from landed_outcomes l
    join arrivals a on a.delivery_id = l.delivery_id
    left join periods p on l.usage_date >= p.starts_on and l.usage_date < p.ends_on
    where l.usage_date is null or l.usage_date <= $through
    qualify a.seq = max(a.seq) over (partition by l.source, l.metric, l.team, l.project, l.application, l.period, l.usage_date)
)
select
    source, period, usage_date, coalesce(team, '*') as team_id, project as project_id, application, metric, quantity, unit, value, source_file, source_row
from newest
qualify (usage_date is null) = bool_or(usage_date is null) over (partition by source, metric, team, project, application, period)
