-- Billed against metered, for every account, model, meter and day that either side knows.
-- grain: provider, billing_account_id, model, meter, variant, usage_date
--   state: matched, variance_price, variance_quantity, variance_cost (the bill counts nothing), unmetered, unbilled, not_comparable
--   treatment: what the pipeline did about it, in words
with billed as (
    select
        provider, billing_account_id, model, sku_meter as meter, service_tier as variant, usage_date,
        sum(consumed_quantity)::decimal(38, 12) as quantity,
        sum(effective_cost)::decimal(38, 12) as cost
    from origin_charges
    where usage_period = $period and origin = 'bill' and charge_category = 'Usage' and model is not null
        and vector_index_id is null and cluster is null and contract_id is null
    group by all
),
metered as (
    select
        provider, billing_account_id, model, meter, service_tier as variant, usage_date,
        sum(quantity)::decimal(38, 12) as quantity,
        sum(contracted_cost)::decimal(38, 12) as cost
    from usage_meters
    where usage_period = $period
    group by all
),
-- The same traffic without its tier, and without its meter, for bills that do not name them.
by_meter as (
    select provider, billing_account_id, model, meter, usage_date, sum(quantity)::decimal(38, 12) as quantity, sum(cost)::decimal(38, 12) as cost
    from metered
    group by all
),
by_model as (
    select provider, billing_account_id, model, usage_date, sum(quantity)::decimal(38, 12) as quantity, sum(cost)::decimal(38, 12) as cost
    from metered
    group by all
),
compared as (
    select
        b.provider, b.billing_account_id, b.model, b.meter, b.variant, b.usage_date,
        case when m.meter is not null then 'meter and tier' when t.meter is not null then 'meter'
            when d.model is not null then 'model' else 'none' end as grain_level,
        coalesce(m.quantity, t.quantity, d.quantity) as metered_quantity,
        b.quantity as billed_quantity,
        case when m.meter is not null then m.cost when t.meter is not null then t.cost else d.cost end as metered_cost,
        b.cost as billed_cost
    from billed b
    left join metered m on m.provider = b.provider and m.billing_account_id = b.billing_account_id and m.model = b.model
        and m.meter = b.meter and m.variant = b.variant and m.usage_date = b.usage_date
    left join by_meter t on m.meter is null and t.provider = b.provider and t.billing_account_id = b.billing_account_id
        and t.model = b.model and t.meter = b.meter and t.usage_date = b.usage_date
    left join by_model d on m.meter is null and t.meter is null and d.provider = b.provider
        and d.billing_account_id = b.billing_account_id and d.model = b.model and d.usage_date = b.usage_date
    union all by name
    select
        m.provider, m.billing_account_id, m.model, m.meter, m.variant, m.usage_date, 'meter and tier' as grain_level,
        m.quantity as metered_quantity, null as billed_quantity, m.cost as metered_cost, null as billed_cost
    from metered m
    anti join billed b on b.provider = m.provider and b.billing_account_id = m.billing_account_id and b.model = m.model
        and (b.meter = m.meter or b.meter not in ('input_uncached', 'cache_read', 'cache_write_5m', 'cache_write_1h', 'output'))
        and b.usage_date = m.usage_date
),
judged as (
    select
        c.*,
        exists (select 1 from billed_days d where d.usage_period = $period
            and d.billing_account_id = c.billing_account_id and d.usage_date = c.usage_date) as is_billed_day,
        abs(coalesce(billed_quantity, 0) - coalesce(metered_quantity, 0))
            <= greatest(1000, abs(coalesce(billed_quantity, 0)) * 0.005::decimal(4, 3)) as quantity_agrees,
        abs(coalesce(billed_cost, 0) - coalesce(metered_cost, 0))
            <= greatest(0.01, abs(coalesce(billed_cost, 0)) * 0.005::decimal(4, 3)) as cost_agrees
    from compared c
),
stated as (
    select
        j.*,
        case
            when billed_cost is null and not is_billed_day then 'unbilled'
            when billed_cost is null and metered_cost is null then 'not_comparable'
            when billed_cost is null then 'unbilled'
            when grain_level = 'none' then 'unmetered'
            when metered_cost is null then 'not_comparable'
            when quantity_agrees and cost_agrees then 'matched'
            when billed_quantity is null then case when cost_agrees then 'matched' else 'variance_cost' end
            when quantity_agrees then 'variance_price'
            else 'variance_quantity'
        end as state
    from judged j
),
-- With price = cost / quantity: quantity variance = (billed - metered quantity) x metered price, price variance =
-- (billed - metered price) x metered quantity, and the cross term is what remains: the three add up exactly.
decomposed as (
    select
        s.*,
        case when metered_quantity > 0 and billed_quantity > 0 and metered_cost is not null then
            money(((billed_quantity - metered_quantity) * 1000)::hugeint * pico(metered_cost) // (metered_quantity * 1000)::hugeint)
            end as quantity_variance,
        case when metered_quantity > 0 and billed_quantity > 0 and metered_cost is not null then
            money(pico(billed_cost) * (metered_quantity * 1000)::hugeint // (billed_quantity * 1000)::hugeint - pico(metered_cost))
            end as price_variance
    from stated s
)
select
    provider, billing_account_id, null::varchar as scope, model, meter, variant, usage_date, grain_level, is_billed_day,
    metered_quantity, billed_quantity, metered_cost, billed_cost,
    quantity_variance,
    price_variance,
    billed_cost - metered_cost - quantity_variance - price_variance as cross_variance,
    state,
    case
        when state = 'unbilled' and not is_billed_day then 'accrued at our prices until the bill comes'
        when state = 'unbilled' then 'no money: the bill of that day does not have it'
        when state = 'unmetered' then 'the whole charge is unseen usage'
        when state = 'not_comparable' then 'shared by tokens: there is no price to compare with'
        when metered_cost > 0 and billed_cost > metered_cost * (select true_up_bound from policy_close)
            then 'shared by metered cost up to the true-up bound, the rest is unseen usage'
        else 'billed cost shared by metered cost'
    end as treatment
from decomposed
