-- What gateways may still let through, for the day after the as-of day: quotas are enforced there, not here. On the first of a month
-- nothing is used yet. Empty where no period is declared for that day. Also written as JSON under reports/guardrails/.
-- grain: budget_id, for_project
--   for_project: the project, where the budget is for each project on its own; '' otherwise
--   name: its name
--   about: what the budget counts
--   day: the day that it is for
--   period: the month of that day
--   as_of: the last complete day that is counted
--   amount: for the whole month, in the company's currency
--   consumed: cost of the month so far
--   remaining: amount less consumed; 0 where it is used up
--   days_left: days of the month from `day` on
--   daily_limit: remaining for each of these days, rounded down to cents
--   resets_on: the first day of the next month
--   state: open, or used_up
with known as (
    select distinct budget_id, for_project from budgets
),
words as (
    select budget_id, string_agg(field || ' ' || value, ', ' order by field, value) as about from policy_budget_scope group by all
),
days as (
    select $through::date + 1 as day, $next_period::varchar as period, $next_period_end::date as resets_on where $next_period is not null
),
asked as (
    select
        b.budget_id, b.name, b.kind, coalesce(k.for_project, '') as for_project, w.about, b.owner, d.day, d.resets_on, d.period,
        coalesce(s.amount, b.amount) as amount, coalesce(s.consumed, 0) as consumed
    from days d
    join policy_budgets b on b.valid_from <= d.day and b.valid_to > d.day
    left join known k on k.budget_id = b.budget_id
    left join words w on w.budget_id = b.budget_id
    left join budget_status s on s.budget_id = b.budget_id and s.for_project = coalesce(k.for_project, '') and s.period = d.period
    where b.kind <> 'per_project' or k.for_project is not null
)
select
    a.budget_id, a.name, a.kind, a.for_project, a.about, a.day, a.period, $through::date as as_of,
    a.amount::decimal(38, 12) as amount, a.consumed::decimal(38, 12) as consumed, o.currency,
    greatest(a.amount - a.consumed, 0)::decimal(38, 12) as remaining,
    (a.resets_on - a.day)::bigint as days_left,
    ((pico(greatest(a.amount - a.consumed, 0)) // ((a.resets_on - a.day) * 10000000000))::decimal(36, 0) * 0.01::decimal(3, 2))::decimal(38, 2) as daily_limit,
    a.resets_on, case when a.consumed >= a.amount then 'used_up' else 'open' end as state, a.owner
from asked a
cross join policy_company o
