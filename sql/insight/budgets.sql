-- What was set aside for each month, and for whom.
-- grain: budget_id, for_project, period
--   name: name of the budget
--   kind: fixed; per_project (the amount is for each project); pooled (several teams draw on one amount, first come); usage (so much a unit, up to a cap)
--   for_project: the project, where the budget is for each project on its own; '' otherwise
--   about: what the budget counts: its teams, projects, applications, environments and cost pools
--   amount: for the whole month, in the company's currency
--   owner: who answers for it
--   review_on: when it is to be looked at again
with projects as (
    select distinct budget_id, for_project from budget_costs where for_project <> ''
    union
    select b.budget_id, s.value from policy_budgets b join policy_budget_scope s on s.budget_id = b.budget_id and s.field = 'project'
    where b.kind = 'per_project'
),
named as (
    select b.*, coalesce(p.for_project, '') as for_project
    from policy_budgets b
    left join projects p on p.budget_id = b.budget_id
    where b.kind <> 'per_project' or p.for_project is not null
),
words as (
    select budget_id, string_agg(field || ' ' || value, ', ' order by field, value) as about from policy_budget_scope group by all
),
earned as (
    select budget_id, period, arg_max(amount, usage_date) as amount from budget_use group by all
)
select
    n.budget_id, n.name, n.kind, n.for_project, p.period, w.about,
    case n.kind when 'usage' then coalesce(e.amount, 0) else n.amount end::decimal(38, 12) as amount,
    o.currency, n.owner, n.review_on
from named n
cross join policy_company o
join periods p on p.starts_on < n.valid_to and p.ends_on > n.valid_from
left join words w on w.budget_id = n.budget_id
left join earned e on e.budget_id = n.budget_id and e.period = p.period
