-- Every threshold of a budget that a month has crossed: once each, on the first day on which the cost so far reached it.
-- A correction of an earlier month counts from the first day on of the month that books it. The amount of a budget for use is what the
-- days up to then have earned it, so that later use takes back nothing; before any use it crosses nothing.
-- grain: budget_id, for_project, period, version, percent
--   version: closed version of the month that the cost is from; 0 while it is open
--   percent: threshold in percent of the amount
--   action: what it asks for: note, mail (to the owner), chat or page
--   crossed_on: the first day on which it was reached
--   consumed: cost of the month up to and with that day
--   amount: of the budget on that day, in the company's currency
with daily as (
    select c.budget_id, c.for_project, c.period, greatest(c.usage_date, p.starts_on) as usage_date, sum(c.cost) as cost
    from budget_costs c
    join periods p on p.period = c.period
    where c.usage_date <= $through
    group by all
),
running as (
    select *, sum(cost) over (partition by budget_id, for_project, period order by usage_date) as consumed from daily
),
-- Every day of cost with the amount that holds on it.
measured as (
    select r.*, case b.kind when 'usage' then u.amount else b.amount end as amount, b.currency, b.owner
    from running r
    join budgets b on b.budget_id = r.budget_id and b.for_project = r.for_project and b.period = r.period
    asof left join budget_use u on u.budget_id = r.budget_id and u.period = r.period and u.usage_date <= r.usage_date
)
select
    m.budget_id, m.for_project, m.period, p.version, t.percent, t.action,
    min(m.usage_date) as crossed_on, arg_min(m.consumed, m.usage_date)::decimal(38, 12) as consumed,
    arg_min(m.amount, m.usage_date)::decimal(38, 12) as amount, m.currency, m.owner
from measured m
join periods p on p.period = m.period
join policy_budget_thresholds t on t.budget_id = m.budget_id
where m.consumed > 0 and m.consumed * 100 >= m.amount * t.percent
group by m.budget_id, m.for_project, m.period, p.version, t.percent, t.action, m.currency, m.owner
