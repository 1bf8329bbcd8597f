-- Every origin charge, in the period it is booked in: the bill lines, declared hardware, accruals and rate-card charges
-- of a period, the corrections that later arrivals made to earlier periods, and what disputes moved.
-- grain: charge_id
select
    charge_id, provider, billing_account_id, sub_account_id, legal_entity, invoice_id, charge_category, charge_class, service,
    sku_meter, model, region, service_tier, activity, vector_index_id, serving_pool, cluster, origin, usage_date,
    charge_period_start, charge_period_end, billing_period, usage_period as period, consumed_quantity, consumed_unit, list_cost,
    contracted_cost, effective_cost, billed_cost, billing_currency, estimate_status, null::varchar as corrects_charge_id,
    usage_period as original_period, contract_id
from period_charges
where usage_period in (select unnest($open))
union all by name
select * exclude (origin_charge_id), 'Correction' as charge_class, origin_charge_id as corrects_charge_id
from correction_charges
union all by name
select * from dispute_charges
union all by name
select * from booked_charges
