-- What each team is charged by day, in the company's currency: what budgets, forecasts and alerts read.
-- A bill in another currency is converted at the rate of the month it belongs to, as on the statements.
-- grain: period, usage_date, team_id, project_id, application, environment, cost_pool, activity, service, model, category, one_off
--   one_off: what does not come again each day: taxes, credits, purchases that nothing spreads, corrections of earlier months
--   cost: chargeback cost, in `currency`
--   currency: the company's currency
with purchases as (
    select charge_id, count(distinct usage_date) over (partition by provider, billing_account_id, service, sku_meter, contract_id, period) as days
    from charges
    where charge_category = 'Purchase'
),
owned as (
    select
        l.*,
        l.original_period <> l.period or c.charge_category in ('Tax', 'Credit', 'Adjustment') or coalesce(p.days = 1, false) as one_off,
        b.currency,
        case when l.billing_currency = b.currency then pico(l.chargeback_cost)
            else sign(l.chargeback_cost)::hugeint
                * (pico(abs(l.chargeback_cost)) * pico(f.rate) // 1000000000000) end as units
    from ledger l
    join charges c on c.charge_id = l.charge_id
    cross join policy_company b
    left join purchases p on p.charge_id = l.charge_id
    left join exchange_rates f on f.period = l.original_period and f.currency = l.billing_currency
)
select
    period, usage_date, team_id, project_id, application, environment, cost_pool, activity, service, model, category, one_off,
    currency, money(sum(units)) as cost
from owned
group by all
having cost <> 0
