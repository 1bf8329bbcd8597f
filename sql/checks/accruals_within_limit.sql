-- What an account costs on days that no bill covers yet stays within close.yaml's part of its month. severity: close
with accounts as (
    select
        c.usage_period as period, c.provider, c.billing_account_id, c.billing_currency,
        count(distinct c.usage_date) filter (c.origin = 'accrual') as days_without_bill,
        min(c.usage_date) filter (c.origin = 'accrual') as first_day,
        coalesce(sum(c.effective_cost) filter (c.origin = 'accrual'), 0)::decimal(38, 12) as accrued,
        sum(c.effective_cost)::decimal(38, 12) as total
    from period_charges c
    join periods p on p.period = c.usage_period and p.state <> 'closed'
    where c.origin in ('bill', 'accrual', 'contract') and ($only_period is null or c.usage_period = $only_period)
    group by all
)
select a.period, a.provider, a.billing_account_id, a.days_without_bill, a.first_day, a.accrued, a.total, l.accrued_percent as limit_percent
from accounts a
cross join policy_close l
where a.accrued * 100 > abs(a.total) * l.accrued_percent
order by all
