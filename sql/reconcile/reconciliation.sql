-- Billed against metered at the finest grain that both sides have, for every account, and what the bills have beside calls of models.
-- Every charge that a vendor bills is in exactly one row, and so is every metered token. Of a shared bill the lines that are not ours
-- stand beside them, so that both scopes together are the bill.
-- grain: comparison_id
--   scope: in_scope, or out_of_scope for the lines of a shared bill that are not ours
--   model: NULL where the bill names none: all models are compared together
--   meter: NULL where one side lacks it; for non_usage and out_of_scope what the money was for
--   variant: service tier; NULL where one side lacks it
--   usage_date: NULL where the bill's lines cover several days: the month is compared; in a period that is no calendar month nothing is
--     where a line reaches out of it
--   grain_level: meter and tier, meter, model, account-day, meter-month, model-month, account-month, none (nothing to compare with)
--   billed_cost: what the bill says it cost: effective cost, so that what was paid ahead is compared where it is used
--   state: matched, timing (a neighbouring day has the opposite difference), variance_price, variance_quantity, variance_cost (the bill
--     counts nothing), unmetered, unmapped (billed under a name that nobody knows), unbilled, covered (paid by what was bought ahead),
--     not_comparable, non_usage (no calls of models), out_of_scope
--   treatment: what the pipeline did about it, in words
with billed as (
    select
        k.comparison_id, k.provider, k.billing_account_id, k.model, k.meter, k.variant, k.usage_date, k.grain_level, k.comparability,
        case when bool_and(c.consumed_unit = 'Tokens' or k.comparability = 'other_unit') then sum(c.consumed_quantity) end::decimal(38, 12) as quantity,
        sum(c.effective_cost)::decimal(38, 12) as cost,
        bool_and(c.billing_currency = price_currency()) as is_our_currency,
        -- Of a vendor's month only a part lies in a period that is no calendar month, and a line of the whole month does not say how much.
        bool_or(k.usage_date is null and (day($period_start::date) <> 1 or $period_end::date <> last_day($period_start::date) + 1)
            and (c.charge_period_start < $period_start or c.charge_period_end > $period_end)) as reaches_out
    from charge_comparisons k
    join origin_charges c on c.usage_period = $period and c.charge_id = k.charge_id
    where k.usage_period = $period
    group by all
),
metered as (
    select
        k.comparison_id, m.provider, m.billing_account_id, m.model, m.meter, m.service_tier as variant, m.usage_date,
        m.quantity, m.contracted_cost
    from usage_comparisons k
    join usage_meters m on m.usage_period = $period and m.provider = k.provider and m.billing_account_id = k.billing_account_id
        and m.model is not distinct from k.model and m.meter = k.meter and m.service_tier = k.service_tier and m.usage_date = k.usage_date
    where k.usage_period = $period
),
counted as (
    select
        comparison_id, any_value(provider) as provider, any_value(billing_account_id) as billing_account_id, any_value(model) as model,
        any_value(meter) as meter, any_value(variant) as variant, any_value(usage_date) as usage_date,
        sum(quantity)::decimal(38, 12) as quantity,
        case when count(*) = count(contracted_cost) then sum(contracted_cost) end::decimal(38, 12) as cost
    from metered
    group by all
),
known_models as (
    select provider, model
    from model_names
    where usage_period = $period and price_model is not null
    union
    select provider, model
    from metered
),
compared as (
    select
        comparison_id,
        coalesce(b.provider, m.provider) as provider,
        coalesce(b.billing_account_id, m.billing_account_id) as billing_account_id,
        if(b.comparison_id is null, m.model, b.model) as model,
        if(b.comparison_id is null, m.meter, b.meter) as meter,
        if(b.comparison_id is null, m.variant, b.variant) as variant,
        if(b.comparison_id is null, m.usage_date, b.usage_date) as usage_date,
        case when b.comparison_id is not null and m.comparison_id is null then 'none' else coalesce(b.grain_level, 'meter and tier') end as grain_level,
        b.comparability,
        b.comparison_id is not null and (b.model is null or k.model is not null) as is_known_model,
        b.comparison_id is not null as is_billed,
        b.comparison_id is not null or exists (
            select 1 from billed_days d
            where d.usage_period = $period and d.billing_account_id = m.billing_account_id and d.usage_date = m.usage_date) as is_billed_day,
        m.quantity as metered_quantity, b.quantity as billed_quantity,
        coalesce(b.reaches_out, false) as reaches_out,
        case when b.is_our_currency is not false and b.reaches_out is not true then m.cost end as metered_cost, b.cost as billed_cost
    from billed b
    full join counted m using (comparison_id)
    left join known_models k on k.provider = b.provider and k.model = b.model
),
judged as (
    select
        c.*,
        t.quantity_percent, t.quantity_tokens, t.cost_percent, t.cost_amount,
        billed_quantity - metered_quantity as quantity_more,
        billed_cost - metered_cost as cost_more,
        within(billed_quantity - metered_quantity, billed_quantity, t.quantity_percent, t.quantity_tokens) as quantity_agrees,
        within(billed_cost - metered_cost, billed_cost, t.cost_percent, t.cost_amount) as cost_agrees
    from compared c
    join policy_tolerances t on (t.provider is null or t.provider = c.provider)
        and coalesce(c.usage_date, $period_start::date) >= t.valid_from and coalesce(c.usage_date, $period_start::date) < t.valid_to
    qualify t.ord = min(t.ord) over (partition by c.comparison_id)
),
-- A difference that a neighbouring day takes back is calls around midnight, counted on two days.
neighbours as (
    select
        *,
        unnest([-1, 1]) as step,
        unnest([lag(usage_date) over days, lead(usage_date) over days]) as near_date,
        unnest([lag(quantity_agrees) over days, lead(quantity_agrees) over days]) as near_agrees,
        unnest([lag(quantity_more) over days, lead(quantity_more) over days]) as near_quantity_more,
        unnest([lag(cost_more) over days, lead(cost_more) over days]) as near_cost_more,
        unnest([lag(billed_quantity) over days, lead(billed_quantity) over days]) as near_quantity,
        unnest([lag(billed_cost) over days, lead(billed_cost) over days]) as near_cost
    from judged
    window days as (partition by provider, billing_account_id, model, meter, variant, is_billed order by usage_date)
),
netted as (
    select distinct comparison_id
    from neighbours
    where not quantity_agrees and not near_agrees and near_date = usage_date + step and sign(quantity_more) = -sign(near_quantity_more)
        and within(quantity_more + near_quantity_more, billed_quantity + near_quantity, quantity_percent, quantity_tokens)
        and within(cost_more + near_cost_more, billed_cost + near_cost, cost_percent, cost_amount)
),
-- Use that a commitment or provisioned units took: the bill has no line for it, and is right.
covering as (
    select distinct k.provider, k.billing_account_id, o.usage_date, v.model as pattern
    from contract_use u
    join origin_charges o on o.usage_period = $period and o.charge_id = u.charge_id
    join policy_contracts k on k.contract_id = o.contract_id
    join policy_contract_covers v on v.contract_id = o.contract_id
    where u.usage_period = $period and u.used > 0
),
stated as (
    select
        j.*,
        case
            when not is_billed and is_billed_day and exists (
                select 1 from covering c
                where c.provider = j.provider and c.usage_date = j.usage_date and j.model glob c.pattern
                    and (c.billing_account_id is null or c.billing_account_id = j.billing_account_id)) then 'covered'
            when not is_billed and is_billed_day and metered_cost is null then 'not_comparable'
            when not is_billed then 'unbilled'
            when comparability = 'unmapped' then 'unmapped'
            when comparability = 'other_unit' then 'not_comparable'
            when grain_level = 'none' then if(is_known_model, 'unmetered', 'unmapped')
            when metered_cost is null then 'not_comparable'
            when billed_quantity is null then if(cost_agrees, 'matched', 'variance_cost')
            when quantity_agrees and cost_agrees then 'matched'
            when quantity_agrees then 'variance_price'
            when comparison_id in (select comparison_id from netted) then 'timing'
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
            money(part_of(((billed_quantity - metered_quantity) * 1000)::hugeint, pico(metered_cost), (metered_quantity * 1000)::hugeint))
            end as quantity_variance,
        case when metered_quantity > 0 and billed_quantity > 0 and metered_cost is not null then
            money(part_of(pico(billed_cost), (metered_quantity * 1000)::hugeint, (billed_quantity * 1000)::hugeint) - pico(metered_cost))
            end as price_variance
    from stated s
),
-- What no gateway could see: it is not compared, and it completes the account.
beside as (
    select
        provider, billing_account_id, activity as meter, usage_date, sum(effective_cost)::decimal(38, 12) as billed_cost
    from origin_charges
    where usage_period = $period and origin = 'bill'
        and charge_id not in (select charge_id from charge_comparisons where usage_period = $period)
    group by all
),
of_others as (
    select
        provider, billing_account_id, activity as meter, usage_date, sum(effective_cost)::decimal(38, 12) as billed_cost
    from bill_lines
    where usage_period = $period and not in_scope
    group by all
)
select
    comparison_id, provider, billing_account_id, 'in_scope' as scope, model, meter, variant, usage_date, grain_level, is_billed_day,
    metered_quantity, billed_quantity, metered_cost, billed_cost,
    quantity_variance,
    price_variance,
    billed_cost - metered_cost - quantity_variance - price_variance as cross_variance,
    state,
    case
        when state = 'unbilled' and not is_billed_day and metered_cost is null then 'no price to accrue at: waits for the bill'
        when state = 'unbilled' and not is_billed_day then 'accrued at our prices until the bill comes'
        when state = 'unbilled' then 'no money: the bill of that day does not have it'
        when state = 'covered' then 'paid by what was bought ahead: shares its charge'
        when state = 'unmetered' then 'the whole charge is unseen usage'
        when state = 'unmapped' then 'the whole charge is unseen usage, under a name that nobody knows'
        when state = 'timing' then 'billed cost shared by metered cost: a neighbouring day takes the difference back'
        when comparability = 'other_unit' then 'shared by the use of its model: no gateway counts this'
        when state = 'not_comparable' and reaches_out then 'shared by the calls of the period: a line of several days reaches out of it'
        when state = 'not_comparable' then 'shared by tokens: there is no price to compare with'
        when metered_cost > 0 and billed_cost > metered_cost * (select true_up_bound from policy_close)
            then 'shared by metered cost up to the true-up bound, the rest is unseen usage'
        else 'billed cost shared by metered cost'
    end as treatment
from decomposed
union all by name
select
    key_of(['beside', provider, billing_account_id, meter, usage_date::varchar, $period]) as comparison_id,
    provider, billing_account_id, 'in_scope' as scope, meter, usage_date, 'none' as grain_level, true as is_billed_day, billed_cost,
    'non_usage' as state, 'no call of a model: shared by the rule of its pool' as treatment
from beside
union all by name
select
    key_of(['others', provider, billing_account_id, meter, usage_date::varchar, $period]) as comparison_id,
    provider, billing_account_id, 'out_of_scope' as scope, meter, usage_date, 'none' as grain_level, true as is_billed_day, billed_cost,
    'out_of_scope' as state, 'not ours: counted, never charged' as treatment
from of_others
