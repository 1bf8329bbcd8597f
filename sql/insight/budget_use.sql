-- What use has earned each budget that grows with it, by each day of a month that has some: so much a unit, and never more than the cap.
-- grain: budget_id, period, usage_date
--   amount: for the use of the month up to and with this day, in the company's currency
with counted as (
    select
        b.budget_id, p.period, u.usage_date, b.amount as cap, b.rate,
        sum(case b.unit when 'request' then u.requests else 0 end)::hugeint as requests,
        sum(case b.unit when '1M tokens' then
            u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens + u.output_tokens + u.reasoning_tokens
            else 0 end)::hugeint as tokens
    from policy_budgets b
    join usage_daily u on u.usage_date >= b.valid_from and u.usage_date < b.valid_to and u.usage_date <= $through
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where b.kind = 'usage'
        and not exists (
            from (select field, list(value) as allowed from policy_budget_scope s where s.budget_id = b.budget_id group by all) a
            where not coalesce(list_contains(a.allowed, case a.field when 'team' then u.team_id when 'project' then u.project_id
                when 'application' then u.application when 'environment' then u.environment end), false))
    group by all
),
running as (
    select
        *,
        sum(requests) over so_far as requests_so_far,
        sum(tokens) over so_far as tokens_so_far
    from counted
    window so_far as (partition by budget_id, period order by usage_date)
)
select
    budget_id, period, usage_date,
    least(cap, money(coalesce(pico(rate) * requests_so_far::hugeint, 0) + coalesce(pico(rate) * tokens_so_far::hugeint // 1000000, 0)))::decimal(38, 12) as amount
from running
