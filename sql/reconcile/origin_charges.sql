-- What the period cost before anybody is charged: bill lines, declared hardware, and accruals for days without a bill.
-- grain: charge_id
with billed as (
    select
        charge_id, provider, billing_account_id, sub_account_id, legal_entity, charge_category, charge_class, service, sku_meter,
        model, region, service_tier, activity, vector_index_id, serving_pool, cluster, owner, usage_date, billing_period,
        billing_currency, consumed_unit,
        'bill' as origin,
        max(invoice_id) as invoice_id,
        min(charge_period_start) as charge_period_start,
        max(charge_period_end) as charge_period_end,
        sum(consumed_quantity)::decimal(38, 12) as consumed_quantity,
        sum(list_cost)::decimal(38, 12) as list_cost,
        sum(contracted_cost)::decimal(38, 12) as contracted_cost,
        sum(effective_cost)::decimal(38, 12) as effective_cost,
        sum(billed_cost)::decimal(38, 12) as billed_cost,
        min(estimate_status) as estimate_status
    from bill_lines
    where in_scope and usage_period = $period
    group by all
),
standing as (
    select c.*, d::date as usage_date
    from policy_gpu_capacity c, lateral (
        select unnest(generate_series(
            greatest(c.valid_from, $period_start::date)::timestamp,
            least(c.valid_to - 1, $period_end::date - 1, $as_of::date)::timestamp, interval 1 day)) as d
    )
    where c.rate is not null
),
-- A day of one card at the rates of its hours.
daily_rates as (
    select entry, sum(rate) as day_rate
    from policy_gpu_rates
    group by all
),
declared as (
    select
        provider, cluster as billing_account_id, null as sub_account_id, legal_entity, 'Usage' as charge_category,
        null as charge_class, 'GPU cluster ' || cluster as service, 'GPU-Hours' as sku_meter, gpu_model as model,
        null as region, coalesce(capacity_type, 'standard') as service_tier, 'training' as activity, null as vector_index_id, null as serving_pool, cluster,
        null as owner, usage_date, strftime(usage_date, '%Y-%m') as billing_period, (select currency from policy_company) as billing_currency,
        'GPU-Hours' as consumed_unit,
        'declared' as origin,
        null as invoice_id,
        usage_date::timestamp as charge_period_start,
        usage_date::timestamp + interval 1 day as charge_period_end,
        sum(gpus * 24)::decimal(38, 12) as consumed_quantity,
        sum(gpus * day_rate)::decimal(38, 12) as list_cost,
        sum(gpus * day_rate)::decimal(38, 12) as contracted_cost,
        sum(gpus * day_rate)::decimal(38, 12) as effective_cost,
        0::decimal(38, 12) as billed_cost,
        'Final' as estimate_status
    from standing
    join daily_rates using (entry)
    group by all
),
accrued as (
    select
        m.provider, m.billing_account_id, null as sub_account_id, b.legal_entity, 'Usage' as charge_category,
        null as charge_class, 'Accrued usage' as service, m.meter as sku_meter, m.model, null as region, m.service_tier,
        m.activity, null as vector_index_id, null as serving_pool, null as cluster, null as owner, m.usage_date,
        strftime(m.usage_date, '%Y-%m') as billing_period, 'USD' as billing_currency, 'Tokens' as consumed_unit,
        'accrual' as origin,
        null as invoice_id,
        m.usage_date::timestamp as charge_period_start,
        m.usage_date::timestamp + interval 1 day as charge_period_end,
        sum(m.quantity)::decimal(38, 12) as consumed_quantity,
        sum(m.list_cost)::decimal(38, 12) as list_cost,
        sum(m.contracted_cost)::decimal(38, 12) as contracted_cost,
        sum(m.contracted_cost)::decimal(38, 12) as effective_cost,
        0::decimal(38, 12) as billed_cost,
        'Estimated' as estimate_status
    from usage_meters m
    anti join billed_days d on d.billing_account_id = m.billing_account_id and d.usage_date = m.usage_date
        and d.usage_period = $period
    left join (select distinct provider, legal_entity from policy_billing) b on b.provider = m.provider
    where m.usage_period = $period and m.contracted_cost is not null
    group by all
),
everything as (
    select * from billed
    union all by name
    select * from declared
    union all by name
    select * from accrued
)
select
    coalesce(charge_id, key_of([origin, provider, billing_account_id, service, sku_meter, model, service_tier, activity, cluster,
        usage_date::varchar, billing_currency, $period])) as charge_id,
    provider, billing_account_id, sub_account_id,
    coalesce(legal_entity, (select min(legal_entity) from policy_legal_entities)) as legal_entity,
    invoice_id, charge_category, charge_class, service, sku_meter, model, region, service_tier, activity, vector_index_id,
    serving_pool, cluster, owner, origin, usage_date, charge_period_start, charge_period_end, billing_period,
    consumed_quantity, consumed_unit, list_cost, contracted_cost, effective_cost, billed_cost, billing_currency,
    estimate_status
from everything
