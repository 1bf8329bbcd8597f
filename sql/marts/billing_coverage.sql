-- How much of what each vendor billed the gateways had seen, in dollars; the parts add up to billed_cost.
-- grain: period, provider, billing_account_id, billing_currency
--   metered_cost: billed for calls that a gateway saw
--   excess_cost: billed beyond the true-up bound of what a gateway saw
--   unmetered_cost: billed for calls of which no gateway saw anything, or under a name that nobody knows
--   non_usage_cost: taxes, fees, storage, indexes, GPUs: no calls of models
--   accrued_cost: what the calls of days without a bill should cost; not billed yet, so not part of billed_cost
--   metered_percent: metered_cost of all that was billed for calls; NULL where nothing was
with parts as (
    select
        p.usage_period, p.provider, p.billing_account_id, p.billing_currency, p.effective_cost, p.billed_cost, p.origin,
        case
            when p.origin = 'accrual' then 'accrued'
            when k.charge_id is null then 'non_usage'
            when p.portion <> 'excess' then 'metered'
            when r.state in ('unmetered', 'unmapped') then 'unmetered'
            else 'excess'
        end as part
    from charge_portions p
    left join charge_comparisons k on k.usage_period = p.usage_period and k.charge_id = p.charge_id
    left join reconciliation r on r.usage_period = k.usage_period and r.comparison_id = k.comparison_id
    where p.origin in ('bill', 'accrual')
),
sums as (
    select
        usage_period as period, provider, billing_account_id, billing_currency,
        sum(billed_cost)::decimal(38, 12) as billed_cost,
        coalesce(sum(billed_cost) filter (part = 'metered'), 0)::decimal(38, 12) as metered_cost,
        coalesce(sum(billed_cost) filter (part = 'excess'), 0)::decimal(38, 12) as excess_cost,
        coalesce(sum(billed_cost) filter (part = 'unmetered'), 0)::decimal(38, 12) as unmetered_cost,
        coalesce(sum(billed_cost) filter (part = 'non_usage'), 0)::decimal(38, 12) as non_usage_cost,
        coalesce(sum(effective_cost) filter (part = 'accrued'), 0)::decimal(38, 12) as accrued_cost
    from parts
    group by all
)
select
    *,
    ((pico(metered_cost) * 10000 // nullif(pico(metered_cost + excess_cost + unmetered_cost), 0))::decimal(18, 0)
        * 0.01::decimal(3, 2))::decimal(9, 2) as metered_percent
from sums
