-- Every threshold of a budget that a month has crossed: once each, on the first day on which the cost so far reached it.
-- A correction of an earlier month counts from the first day on of the month that books it.
-- grain: budget_id, for_project, period, version, percent
--   version: closed version of the month that the cost is from; 0 while it is open
--   percent: threshold in percent of the amount
--   action: what it asks for: note, mail (to the owner), chat or page
--   crossed_on: the first day on which it was reached
--   consumed: cost of the month up to and with that day
with daily as (
    select c.budget_id, c.for_project, c.period, greatest(c.usage_date, p.starts_on) as usage_date, sum(c.cost) as cost
    from budget_costs c
    join periods p on p.period = c.period
    where c.usage_date <= $through
    group by all
),
running as (
    select *, sum(cost) over (partition by budget_id, for_project, period order by usage_date) as consumed from daily
)
select
    b.budget_id, b.for_project, b.period, p.version, t.percent, t.action,
    min(r.usage_date) as crossed_on, arg_min(r.consumed, r.usage_date)::decimal(38, 12) as consumed, b.amount, b.currency, b.owner
from budgets b
join periods p on p.period = b.period
join policy_budget_thresholds t on t.budget_id = b.budget_id
join running r on r.budget_id = b.budget_id and r.for_project = b.for_project and r.period = b.period
    and r.consumed > 0 and r.consumed * 100 >= b.amount * t.percent
group by all
