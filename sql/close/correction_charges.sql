-- One Correction charge per charge of a closed period that changed, in the earliest open period, or in its own where that
-- is reopened; zero where only the sharing changed.
-- grain: charge_id
with recomputed as (
    select usage_period as original_period, charge_id as origin_charge_id, * exclude (usage_period, charge_id)
    from period_charges
    where usage_period in (select original_period from destinations where is_recomputed)
),
booked as (
    select coalesce(corrects_charge_id, charge_id) as origin_charge_id, * exclude (charge_id, corrects_charge_id, period)
    from booked_charges
    where original_period in (select original_period from destinations where is_recomputed) and origin <> 'dispute'
),
sides as (
    select *, 1 as side from recomputed
    union all by name
    select *, -1 as side from booked
),
changes as (
    select
        original_period, origin_charge_id,
        any_value(provider) as provider, any_value(billing_account_id) as billing_account_id,
        any_value(sub_account_id) as sub_account_id, any_value(legal_entity) as legal_entity, max(invoice_id) as invoice_id,
        any_value(charge_category) as charge_category, any_value(service) as service, any_value(sku_meter) as sku_meter,
        any_value(model) as model, any_value(region) as region, any_value(service_tier) as service_tier,
        any_value(activity) as activity, any_value(vector_index_id) as vector_index_id, any_value(serving_pool) as serving_pool,
        any_value(cluster) as cluster, any_value(origin) as origin, any_value(usage_date) as usage_date,
        min(charge_period_start) as charge_period_start, max(charge_period_end) as charge_period_end,
        any_value(billing_period) as billing_period,
        sum(side * coalesce(consumed_quantity, 0))::decimal(38, 12) as consumed_quantity,
        any_value(consumed_unit) as consumed_unit,
        sum(side * list_cost)::decimal(38, 12) as list_cost,
        sum(side * contracted_cost)::decimal(38, 12) as contracted_cost,
        sum(side * effective_cost)::decimal(38, 12) as effective_cost,
        sum(side * billed_cost)::decimal(38, 12) as billed_cost,
        any_value(billing_currency) as billing_currency,
        coalesce(max(estimate_status) filter (side = 1), 'Final') as estimate_status,
        any_value(contract_id) as contract_id
    from sides
    group by all
)
select key_of(['correction', c.origin_charge_id, d.booking]) as charge_id, d.period, c.*
from changes c
join destinations d on d.original_period = c.original_period
where list_cost <> 0 or contracted_cost <> 0 or effective_cost <> 0 or billed_cost <> 0 or consumed_quantity <> 0
    or origin_charge_id in (select origin_charge_id from correction_ledger)
