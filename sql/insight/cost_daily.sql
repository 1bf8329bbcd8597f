-- What each team is charged by day, in the company's currency: what budgets, forecasts and alerts read.
-- A bill in another currency is converted at the rate of the month it belongs to, as on the statements.
-- grain: period, usage_date, team_id, project_id, application, environment, cost_pool, activity, service, model, consumed_unit, vector_index_id, serving_pool, category, one_off
--   one_off: what does not come again each day: taxes, credits, purchases that nothing spreads, corrections of earlier months
--   cost: chargeback cost, in `currency`
--   list_cost: what the same would cost at the vendors' public prices, in `currency`; NULL for what is sold at a rate of our own
--   currency: the company's currency
with purchases as (
    select charge_id, count(distinct usage_date) over (partition by provider, billing_account_id, service, sku_meter, contract_id, period) as days
    from charges
    where charge_category = 'Purchase'
),
owned as (
    select
        l.*, c.vector_index_id, c.serving_pool,
        l.original_period <> l.period or c.charge_category in ('Tax', 'Credit', 'Adjustment') or coalesce(p.days = 1, false) as one_off,
        b.currency,
        case when l.billing_currency = b.currency then 1::decimal(38, 12) else f.rate end as units_for_one,
        exchanged(l.chargeback_cost, units_for_one) as units,
        case when l.method is distinct from 'rate' and (l.chargeback_cost <> 0 or l.effective_cost = 0) then exchanged(l.list_cost, units_for_one) end as list_units
    from ledger l
    join charges c on c.charge_id = l.charge_id
    cross join policy_company b
    left join purchases p on p.charge_id = l.charge_id
    left join exchange_rates f on f.period = l.original_period and f.currency = l.billing_currency
)
select
    period, usage_date, team_id, project_id, application, environment, cost_pool, activity, service, model, consumed_unit,
    vector_index_id, serving_pool, category, one_off, currency, money(sum(units)) as cost, money(sum(list_units)) as list_cost
from owned
group by all
having cost <> 0
