-- Who drew on each budget, first come: what came after the amount was used up is beyond it. Costs of one day come together.
-- A correction of an earlier month comes with the first day of the month that books it.
-- grain: budget_id, for_project, period, team_id
--   drawn: cost of the team that the amount still covered
--   beyond: cost of the team after it was used up
--   share_percent: the team's part of everything drawn on the budget, whether covered or not
--   first_drawn_on: the team's first day with cost
with placed as (
    select c.budget_id, c.for_project, c.period, greatest(c.usage_date, p.starts_on) as usage_date, c.team_id, pico(c.cost) as units
    from budget_costs c
    join periods p on p.period = c.period
    where c.usage_date <= $through
),
days as (
    select budget_id, for_project, period, usage_date, sum(units)::hugeint as units from placed group by all
),
running as (
    select
        d.*, pico(b.amount) as amount,
        coalesce(sum(d.units) over (partition by d.budget_id, d.for_project, d.period order by d.usage_date rows between unbounded preceding and 1 preceding), 0) as before
    from days d
    join budgets b on b.budget_id = d.budget_id and b.for_project = d.for_project and b.period = d.period
),
covered as (
    select *, case when units <= 0 then units else least(units, greatest(amount - before, 0)) end::hugeint as covered from running
),
teams as (
    select budget_id, for_project, period, usage_date, team_id, sum(units)::hugeint as units from placed group by all
),
cut_days as (
    select
        t.budget_id, t.for_project, t.period, t.team_id, t.usage_date, t.units,
        case when c.covered = c.units then t.units when c.covered = 0 then 0
            else sign(t.units)::hugeint * (abs(t.units) // 1000000 * (c.covered // 1000000) // nullif(c.units // 1000000, 0) * 1000000) end::hugeint as drawn
    from teams t
    join covered c on c.budget_id = t.budget_id and c.for_project = t.for_project and c.period = t.period and c.usage_date = t.usage_date
),
summed as (
    select
        budget_id, for_project, period, team_id,
        sum(drawn)::hugeint as drawn, sum(units)::hugeint as units, min(usage_date) as first_drawn_on
    from cut_days
    group by all
)
select
    budget_id, for_project, period, team_id, money(drawn) as drawn, money(units - drawn) as beyond,
    percent_of(money(units), money((sum(units) over (partition by budget_id, for_project, period))::hugeint)) as share_percent,
    first_drawn_on
from summed
