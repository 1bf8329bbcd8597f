-- The charges of one usage period: what vendors and hardware cost, and what the rate card charges on top.
-- A tariff charge costs nothing itself: its rows move money from the platform to the team at the published rate.
-- grain: charge_id
with tariff as (
    select
        charge_id, 'rate card' as provider, rate_card_id as billing_account_id, team_id as sub_account_id, legal_entity,
        service, meter as sku_meter, min(model) as model, min(activity) as activity, serving_pool, cluster, vector_index_id, usage_date,
        sum(consumed_quantity)::decimal(38, 12) as consumed_quantity, consumed_unit, currency
    from tariffs
    where usage_period = $period
    group by all
)
select
    charge_id, provider, billing_account_id, sub_account_id, legal_entity, invoice_id, charge_category, charge_class, service,
    sku_meter, model, region, service_tier, activity, vector_index_id, serving_pool, cluster, origin, usage_date,
    charge_period_start, charge_period_end, billing_period, consumed_quantity, consumed_unit, list_cost, contracted_cost,
    effective_cost, billed_cost, billing_currency, estimate_status, contract_id
from origin_charges
where usage_period = $period
union all by name
select
    charge_id, provider, billing_account_id, sub_account_id, legal_entity, null as invoice_id, 'Usage' as charge_category,
    null as charge_class, service, sku_meter, model, null as region, 'standard' as service_tier, activity,
    vector_index_id, serving_pool, cluster, 'tariff' as origin, usage_date,
    usage_date::timestamp as charge_period_start, usage_date::timestamp + interval 1 day as charge_period_end,
    strftime(usage_date, '%Y-%m') as billing_period, consumed_quantity, consumed_unit,
    0::decimal(38, 12) as list_cost, 0::decimal(38, 12) as contracted_cost, 0::decimal(38, 12) as effective_cost,
    0::decimal(38, 12) as billed_cost, currency as billing_currency, 'Final' as estimate_status
from tariff
