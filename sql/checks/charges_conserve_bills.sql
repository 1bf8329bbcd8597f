-- The charges of an open period add up to the bill lines that are ours, per account and currency. severity: fail
with billed as (
    select usage_period, billing_account_id, billing_currency, sum(effective_cost) as effective_cost, sum(billed_cost) as billed_cost
    from bill_lines
    where in_scope
    group by all
),
charged as (
    select usage_period, billing_account_id, billing_currency, sum(effective_cost) as effective_cost, sum(billed_cost) as billed_cost
    from period_charges
    where origin = 'bill'
    group by all
)
select
    coalesce(b.usage_period, c.usage_period) as period, coalesce(b.billing_account_id, c.billing_account_id) as billing_account_id,
    b.billed_cost as billed, c.billed_cost as charged
from billed b
full join charged c on c.usage_period = b.usage_period and c.billing_account_id = b.billing_account_id
    and c.billing_currency = b.billing_currency
where b.effective_cost is distinct from c.effective_cost or b.billed_cost is distinct from c.billed_cost
