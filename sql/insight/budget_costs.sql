-- The cost that each budget is about, by day and who caused it.
-- grain: budget_id, for_project, period, usage_date, team_id, one_off
--   for_project: the project, where the budget is for each project on its own; '' otherwise
with keys as (
    select distinct team_id, project_id, application, environment, cost_pool from cost_daily
),
asked as (
    select budget_id, field, list(value) as allowed from policy_budget_scope group by all
),
answers as (
    select
        b.budget_id, b.kind, b.valid_from, b.valid_to, k.*,
        count(a.field) as wanted,
        count(a.field) filter (
            list_contains(a.allowed, case a.field when 'team' then k.team_id when 'project' then k.project_id
                when 'application' then k.application when 'environment' then k.environment else k.cost_pool end)
        ) as met
    from policy_budgets b
    cross join keys k
    left join asked a on a.budget_id = b.budget_id
    group by all
)
select
    a.budget_id, case when a.kind = 'per_project' then coalesce(a.project_id, '') else '' end as for_project,
    c.period, c.usage_date, c.team_id, c.one_off, sum(c.cost)::decimal(38, 12) as cost
from answers a
join cost_daily c
    on c.team_id = a.team_id and c.project_id is not distinct from a.project_id and c.application is not distinct from a.application
    and c.environment is not distinct from a.environment and c.cost_pool is not distinct from a.cost_pool
where a.met = a.wanted and c.usage_date >= a.valid_from and c.usage_date < a.valid_to
    and (a.kind <> 'per_project' or a.project_id is not null)
group by all
