-- What the period cost before anybody is charged: bill lines, declared hardware, accruals for days without a bill, and what
-- contracts promise the vendor until its bill names it: fees, and what use leaves of a minimum.
-- grain: charge_id
with billed as (
    select
        charge_id, provider, billing_account_id, sub_account_id, legal_entity, charge_category, charge_class, service, sku_meter,
        model, region, service_tier, activity, vector_index_id, serving_pool, cluster, owner, usage_date, billing_period,
        billing_currency, consumed_unit, contract_id,
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
-- Whose bill an account-day will be on: a vendor may bill several entities. Of the sources that may have the account on the day the one that names it.
buyers as (
    select
        k.provider, k.billing_account_id, k.usage_date,
        arg_max(b.legal_entity, (
            coalesce(b.billing_account_id = k.billing_account_id, b.billing_account_id is null) and k.usage_date >= b.record_from and k.usage_date < b.record_to,
            coalesce(b.billing_account_id = k.billing_account_id, false), b.source)) as legal_entity
    from (select distinct provider, billing_account_id, usage_date from usage_meters where usage_period = $period) k
    join policy_billing b on b.provider = k.provider
    group by all
),
estimated as (
    select
        m.provider, m.billing_account_id, null as sub_account_id, b.legal_entity, 'Usage' as charge_category,
        null as charge_class, 'Accrued usage' as service, m.meter as sku_meter, m.model, null as region, m.service_tier,
        m.activity, null as vector_index_id, null as serving_pool, null as cluster, null as owner, m.usage_date,
        strftime(m.usage_date, '%Y-%m') as billing_period, price_currency() as billing_currency,
        case m.meter when 'images' then 'Images' when 'search_units' then 'Search Units' when 'requests' then 'Requests' else 'Tokens' end as consumed_unit,
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
    left join buyers b on b.provider = m.provider and b.billing_account_id is not distinct from m.billing_account_id and b.usage_date = m.usage_date
    where m.usage_period = $period and m.contracted_cost is not null
    group by all
),
-- What each day of a commitment pays for, at our prices: of the use that it covers only the rest is still to be billed.
bought as (
    select
        k.contract_id, k.provider, k.billing_account_id, b.usage_date,
        sum(case when b.billing_currency = price_currency() then pico(b.effective_cost) else in_currency(b.effective_cost, r.rate, p.rate) end)::hugeint as units
    from billed b
    join policy_contracts k on k.contract_id = b.contract_id and k.kind = 'commitment'
    left join period_rates r on r.currency = b.billing_currency
    left join period_rates p on p.currency = price_currency()
    where k.contract_id in (select contract_id from policy_contract_covers)
    group by all
    having units > 0
),
paid_ahead as (
    select
        e.*,
        (
            select list(k.contract_id order by k.contract_id)
            from bought k
            where k.provider = e.provider and k.usage_date = e.usage_date and (k.billing_account_id is null or k.billing_account_id = e.billing_account_id)
                and exists (select 1 from policy_contract_covers v where v.contract_id = k.contract_id and e.model glob v.model)
        ) as payers
    from estimated e
),
-- Commitments that cover the same use pay for it together. One that shares some of its use with others, and not all, pays where it is most.
needed as (
    select payers, usage_date, sum(pico(contracted_cost))::hugeint as total from paid_ahead where payers is not null group by all
),
paying as (
    select k.usage_date, k.contract_id, k.units, arg_max(n.payers, (n.total, n.payers)) as payers
    from bought k
    join needed n on n.usage_date = k.usage_date and list_contains(n.payers, k.contract_id)
    group by all
),
covered as (
    select
        e.*, p.units, n.total,
        sum(pico(e.contracted_cost)) over (
            partition by e.payers, e.usage_date order by e.billing_account_id, e.model, e.service_tier, e.sku_meter, e.activity rows unbounded preceding)::hugeint as high
    from paid_ahead e
    left join needed n on n.payers = e.payers and n.usage_date = e.usage_date
    left join (select payers, usage_date, sum(units)::hugeint as units from paying group by all) p on p.payers = e.payers and p.usage_date = e.usage_date
),
-- Weights in millionths of a dollar: products of pico-units would not fit from 13 millions a day on.
left_to_bill as (
    select
        * exclude (payers, units, high, total), units is not null and total >= 1000000 as is_paid_ahead, greatest(total - units, 0)::hugeint as rest,
        (high - pico(contracted_cost)) // 1000000 as from_weight, high // 1000000 as to_weight, total // 1000000 as whole
    from covered
),
accrued as (
    select
        * exclude (is_paid_ahead, rest, from_weight, to_weight, whole) replace (
            if(is_paid_ahead, money(part_of(pico(list_cost), rest // 1000000, whole)), list_cost) as list_cost,
            if(is_paid_ahead, money(cut(rest, from_weight, to_weight, whole)), contracted_cost) as contracted_cost,
            if(is_paid_ahead, money(cut(rest, from_weight, to_weight, whole)), effective_cost) as effective_cost)
    from left_to_bill
),
used as (
    select * from billed
    union all by name
    select * from declared
    union all by name
    select * from accrued
),
-- Contracts by the month, and the days of the month on which each holds. The policy has them only where periods are calendar months.
promised as (
    select
        c.contract_id, m.kind, c.provider, c.billing_account_id, m.amount, m.currency, m.percent,
        greatest(c.valid_from, $period_start::date) as first_day,
        least(c.valid_to, $period_end::date) as after_day,
        least(after_day, $as_of::date + 1) as after_today,
        date_diff('day', $period_start::date, $period_end::date) as month_days
    from policy_contracts c
    join policy_monthly m on m.contract_id = c.contract_id
    where after_today > first_day
        and c.contract_id not in (select contract_id from bill_lines where usage_period = $period and in_scope and contract_id is not null)
),
counted as (
    select
        p.contract_id, p.kind, p.percent, u.usage_date, coalesce(u.billing_account_id, p.billing_account_id) as billing_account_id,
        u.billing_currency, sum(u.effective_cost) as cost
    from promised p
    join used u on u.provider = p.provider and u.charge_category = 'Usage' and u.origin <> 'declared'
        and (p.billing_account_id is null or p.billing_account_id = u.billing_account_id)
        and u.usage_date >= p.first_day and u.usage_date < p.after_today
    group by all
),
-- What was used in the currency of a minimum. Where a rate is missing the use does not count, and the close is refused for that rate: the
-- ledger has the use in its own currency, and what the minimum would cost without it in the minimum's.
counted_minimums as (
    select
        p.contract_id,
        sum(case when c.billing_currency = p.currency then pico(c.cost)
            else in_currency(c.cost, u.rate, k.rate) end)::hugeint as units
    from promised p
    join counted c on c.contract_id = p.contract_id
    left join period_rates u on u.currency = c.billing_currency
    left join period_rates k on k.currency = p.currency
    where p.kind = 'minimum'
    group by all
),
-- A minimum of the days so far, less what they used; one charge on the last of them.
shortfalls as (
    select
        p.contract_id, 'minimum' as kind, p.provider, p.billing_account_id, p.currency, p.after_today - 1 as usage_date,
        cut(pico(p.amount), 0, date_diff('day', p.first_day, p.after_today), p.month_days)
            - coalesce(m.units, 0) as units
    from promised p
    left join counted_minimums m on m.contract_id = p.contract_id
    where p.kind = 'minimum'
),
fees as (
    select
        p.contract_id, 'fee' as kind, p.provider, p.billing_account_id, p.currency, d::date as usage_date,
        cut(pico(p.amount), date_diff('day', $period_start::date, d::date), date_diff('day', $period_start::date, d::date) + 1, p.month_days) as units
    from promised p, lateral (select unnest(generate_series(p.first_day::timestamp, (p.after_today - 1)::timestamp, interval 1 day)) as d)
    where p.kind = 'fee' and p.amount is not null
    union all by name
    select
        p.contract_id, 'fee' as kind, p.provider, c.billing_account_id, c.billing_currency as currency, c.usage_date,
        cut(pico(c.cost), 0, (p.percent * 1000000)::hugeint, 100000000) as units
    from promised p
    join counted c on c.contract_id = p.contract_id
    where p.percent is not null
),
awaited as (
    select
        provider, coalesce(billing_account_id, provider) as billing_account_id, null as sub_account_id,
        (select min(b.legal_entity) from policy_billing b where b.provider = w.provider) as legal_entity, 'Purchase' as charge_category,
        null as charge_class, if(kind = 'minimum', 'Shortfall of ', 'Fee ') || contract_id as service, null as sku_meter, null as model,
        null as region, 'standard' as service_tier, 'platform' as activity, null as vector_index_id, null as serving_pool,
        null as cluster, null as owner, usage_date, strftime(usage_date, '%Y-%m') as billing_period, currency as billing_currency,
        null as consumed_unit, contract_id,
        'contract' as origin,
        null as invoice_id,
        usage_date::timestamp as charge_period_start,
        usage_date::timestamp + interval 1 day as charge_period_end,
        null::decimal(38, 12) as consumed_quantity,
        money(units) as list_cost,
        money(units) as contracted_cost,
        money(units) as effective_cost,
        0::decimal(38, 12) as billed_cost,
        'Estimated' as estimate_status
    from (
        select * from shortfalls where units > 0
        union all by name
        select * from fees where units <> 0
    ) w
),
everything as (
    select * from used
    union all by name
    select * from awaited
)
select
    coalesce(charge_id, key_of([origin, provider, billing_account_id, service, sku_meter, model, service_tier, activity, cluster,
        usage_date::varchar, billing_currency, $period])) as charge_id,
    provider, billing_account_id, sub_account_id,
    coalesce(legal_entity, (select min(legal_entity) from policy_legal_entities)) as legal_entity,
    invoice_id, charge_category, charge_class, service, sku_meter, model, region, service_tier, activity, vector_index_id,
    serving_pool, cluster, owner, origin, usage_date, charge_period_start, charge_period_end, billing_period,
    consumed_quantity, consumed_unit, list_cost, contracted_cost, effective_cost, billed_cost, billing_currency,
    estimate_status, contract_id
from everything
