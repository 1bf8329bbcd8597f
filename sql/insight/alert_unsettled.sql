-- Money or tokens of a month that are in no settled state, on the first day on which they reach the policy's limit: unpriced tokens of a model, cost that is
-- billed under a name that nobody knows, cost that found no owner.
-- grain: kind, period, what
--   kind: unpriced, unmapped or unallocated
--   what: the model, or the reason for which there is no owner
--   actual: tokens, or money in the bill's currency, up to and with this day
--   currency: of the money; NULL for tokens
--   limit_reached: the limit
with unpriced as (
    select
        'unpriced' as kind, p.period, concat_ws(' ', u.provider, coalesce(u.model, '?')) as what, u.usage_date as day, null as currency,
        sum(u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens + u.output_tokens + u.reasoning_tokens)::decimal(38, 12) as amount
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.unpriced_events > 0 and u.serving_pool is null
    group by all
),
unmapped as (
    select
        'unmapped' as kind, p.period, concat_ws(' ', r.provider, r.model) as what, coalesce(r.usage_date, least(p.ends_on - 1, $through::date)) as day,
        c.currency, sum(r.billed_cost)::decimal(38, 12) as amount
    from reconciliation r
    join periods p on p.period = r.usage_period
    left join (
        select period, provider, billing_account_id, min(billing_currency) as currency from billing_coverage group by all
    ) c on c.period = r.usage_period and c.provider = r.provider and c.billing_account_id = r.billing_account_id
    where r.state = 'unmapped' and r.billed_cost is not null
    group by all
),
unallocated as (
    select
        'unallocated' as kind, l.period, coalesce(l.reason, l.cost_pool) as what, greatest(l.usage_date, p.starts_on) as day,
        l.billing_currency as currency, sum(l.effective_cost)::decimal(38, 12) as amount
    from ledger l
    join periods p on p.period = l.period
    where l.team_id = 'unallocated'
    group by all
),
running as (
    select
        *, sum(amount) over (partition by kind, period, what, currency order by day) as total
    from (from unpriced union all by name from unmapped union all by name from unallocated)
    where day <= $through
)
select
    s.kind, s.period, s.what, min(s.day) as raised_on, arg_min(s.total, s.day)::decimal(38, 12) as actual, s.currency,
    any_value(coalesce(r.tokens::decimal(38, 12), r.amount))::decimal(38, 12) as limit_reached
from running s
join policy_alert_rules r on r.kind = s.kind
where s.total >= coalesce(r.tokens::decimal(38, 12), r.amount) and s.total > 0
group by s.kind, s.period, s.what, s.currency
