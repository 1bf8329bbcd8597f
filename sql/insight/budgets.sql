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
counted as (
    select
        b.budget_id, p.period,
        sum(case b.unit when 'request' then u.requests else 0 end)::hugeint as requests,
        sum(case b.unit when '1M tokens' then
            u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens + u.output_tokens + u.reasoning_tokens
            else 0 end)::hugeint as tokens
    from policy_budgets b
    join usage_daily u on u.usage_date >= b.valid_from and u.usage_date < b.valid_to
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where b.kind = 'usage'
        and not exists (
            from (select field, list(value) as allowed from policy_budget_scope s where s.budget_id = b.budget_id group by all) a
            where not coalesce(list_contains(a.allowed, case a.field when 'team' then u.team_id when 'project' then u.project_id
                when 'application' then u.application when 'environment' then u.environment end), false))
    group by all
)
select
    n.budget_id, n.name, n.kind, n.for_project, p.period, w.about,
    case n.kind
        when 'usage' then least(n.amount, money(coalesce(pico(n.rate) * c.requests, 0) + coalesce(pico(n.rate) * c.tokens // 1000000, 0)))
        else n.amount end::decimal(38, 12) as amount,
    o.currency, n.owner, n.review_on
from named n
cross join policy_company o
join periods p on p.starts_on < n.valid_to and p.ends_on > n.valid_from
left join words w on w.budget_id = n.budget_id
left join counted c on c.budget_id = n.budget_id and c.period = p.period
