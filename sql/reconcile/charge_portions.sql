-- Every charge cut into named portions; the portions of a charge add up to it in every cost column.
-- metered: seen by a gateway. excess: billed, but beyond what the gateways saw. used and idle: GPU capacity by whether
-- anybody held it. whole: everything else.
-- grain: charge_id, portion
--   allocated_ratio: the portion's part of its charge, one over all portions
with held as (
    select cluster, usage_date, (sum(gpu_seconds) * 1000)::hugeint as held
    from gpu_usage
    where usage_period = $period
    group by all
),
standing as (
    select c.cluster, d::date as usage_date, sum(c.gpus)::hugeint * 86400000 as capacity
    from policy_gpu_capacity c, lateral (
        select unnest(generate_series(
            greatest(c.valid_from, $period_start::date)::timestamp,
            least(c.valid_to - 1, $period_end::date - 1)::timestamp, interval 1 day)) as d
    )
    group by all
),
compared as (
    select
        c.charge_id,
        r.state,
        pico(r.billed_cost) as billed,
        least(pico(r.billed_cost), pico((coalesce(r.metered_cost, r.billed_cost) * b.true_up_bound)::decimal(38, 12))) as within
    from origin_charges c
    join reconciliation r on r.usage_period = $period and r.provider = c.provider
        and r.billing_account_id = c.billing_account_id and r.model = c.model and r.meter = c.sku_meter
        and r.variant = c.service_tier and r.usage_date = c.usage_date
    cross join policy_close b
    where c.usage_period = $period and c.origin = 'bill' and c.charge_category = 'Usage'
        and c.vector_index_id is null and c.cluster is null and r.billed_cost is not null
),
-- What each charge is cut by: two weights in whole numbers.
weighed as (
    select
        c.*,
        case
            when c.cluster is not null and c.activity in ('training', 'inference') then 'gpu'
            when c.origin = 'accrual' then 'api'
            when m.charge_id is not null then 'api'
            else 'other' end as kind,
        case
            when c.cluster is not null then case when s.capacity > 0 then least(coalesce(h.held, 0), s.capacity) else 1 end
            when m.state = 'unmetered' then 0
            when m.charge_id is null or m.billed <= 0 then 1
            else greatest(m.within, 0) // 1000000 end as first_weight,
        case
            when c.cluster is not null then case when s.capacity > 0 then s.capacity - least(coalesce(h.held, 0), s.capacity) else 0 end
            when m.state = 'unmetered' then 1
            when m.charge_id is null or m.billed <= 0 then 0
            else m.billed // 1000000 - greatest(m.within, 0) // 1000000 end as second_weight
    from origin_charges c
    left join compared m on m.charge_id = c.charge_id
    left join standing s on s.cluster = c.cluster and s.usage_date = c.usage_date
    left join held h on h.cluster = c.cluster and h.usage_date = c.usage_date
    where c.usage_period = $period
),
cuts as (
    select w.* exclude (activity), case kind when 'gpu' then 'used' when 'api' then 'metered' else 'whole' end as portion, w.activity,
        0::hugeint as low, first_weight::hugeint as high
    from weighed w
    where first_weight > 0 or first_weight + second_weight = 0
    union all by name
    select w.* exclude (activity), case kind when 'gpu' then 'idle' else 'excess' end as portion,
        case kind when 'gpu' then 'gpu_idle' else w.activity end as activity,
        first_weight::hugeint as low, (first_weight + second_weight)::hugeint as high
    from weighed w
    where second_weight > 0
),
totals as (
    select *, case when first_weight + second_weight = 0 then 1 else first_weight + second_weight end::hugeint as total,
        case when first_weight + second_weight = 0 then 1 else high end as upto
    from cuts
)
select
    charge_id, portion, usage_date, provider, billing_account_id, sub_account_id, legal_entity, charge_category, charge_class,
    service, sku_meter, model, region, service_tier, activity, vector_index_id, serving_pool, cluster, owner, origin,
    consumed_unit, billing_currency, estimate_status,
    money(cut(pico(effective_cost), low, upto, total)) as effective_cost,
    money(cut(pico(list_cost), low, upto, total)) as list_cost,
    money(cut(pico(contracted_cost), low, upto, total)) as contracted_cost,
    money(cut(pico(billed_cost), low, upto, total)) as billed_cost,
    money(cut(pico(coalesce(consumed_quantity, 0)), low, upto, total)) as consumed_quantity,
    money(cut(pico(1), low, upto, total)) as allocated_ratio
from totals
