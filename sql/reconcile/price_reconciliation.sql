-- What vendors billed for calls of models against what their own usage reports should cost: reconciliation compares quantities with the
-- gateways, invoice_reconciliation the sum with the document, and this the price. Quantities are the vendor's, prices ours: agreed,
-- else list, never one that the bill itself shows. Only account-days of which both a bill and a usage report tell. It moves no money.
-- grain: provider, billing_account_id, usage_date, model, meter, grain_level, billing_currency
--   model: NULL where one side names none: the account's day is compared
--   meter: NULL where one side lacks it; where it is none of ours, the vendor's own word
--   grain_level: meter, model, account-day, none (nothing to compare with)
--   expected_cost: provider_quantity at our prices; NULL where any of it has none
--   billed_cost: what the bill says it cost: effective cost
--   quantity_variance: difference of quantity at the expected price
--   price_variance: difference of price at the reported quantity
--   cross_variance: what remains; the three add up to billed less expected
--   state: matched, variance_price, variance_quantity, variance_cost (the bill counts nothing), unreported (billed, and no report tells of
--     it), unbilled (reported, and the bill of the day does not have it), unpriced (reported, and we have no price), not_comparable
--   reason: what has no price, or why it is not comparable
with days as (
    select distinct r.provider, r.billing_account_id, r.usage_date
    from reported_days r
    join billed_days b on b.usage_period = $period and b.billing_account_id = r.billing_account_id and b.usage_date = r.usage_date
    where r.usage_period = $period
),
our_meters as (
    select unnest(['input', 'input_uncached', 'cache_read', 'cache_write_5m', 'cache_write_1h', 'output', 'audio_input', 'audio_output', 'images',
        'search_units', 'requests']) as meter
),
named as (
    select provider, model, min({'provider': price_provider, 'model': price_model}) filter (price_model is not null) as list
    from model_names
    where usage_period = $period
    group by all
),
-- What was agreed says for which meters the agreed price counts; for others the rate may be the bill's own.
agreed as (
    select price_id as agreed_id, meter from policy_private_prices
    union
    select discount_id as agreed_id, meter from policy_discounts
),
offered as (
    select
        provider, model, service_tier, region, valid_from, valid_to, minute_from, input_gt, string_split(contract_id, '+') as agreed_ids,
        unnest([
            {'meter': 'input', 'list': list_input_uncached, 'contracted': contracted_input_uncached},
            {'meter': 'input_uncached', 'list': list_input_uncached, 'contracted': contracted_input_uncached},
            {'meter': 'cache_read', 'list': list_cache_read, 'contracted': contracted_cache_read},
            {'meter': 'cache_write_5m', 'list': list_cache_write_5m, 'contracted': contracted_cache_write_5m},
            {'meter': 'cache_write_1h', 'list': list_cache_write_1h, 'contracted': contracted_cache_write_1h},
            {'meter': 'output', 'list': list_output, 'contracted': contracted_output},
            {'meter': 'audio_input', 'list': list_audio_input, 'contracted': contracted_audio_input},
            {'meter': 'audio_output', 'list': list_audio_output, 'contracted': contracted_audio_output},
            {'meter': 'images', 'list': list_images, 'contracted': contracted_images},
            {'meter': 'search_units', 'list': list_search_units, 'contracted': contracted_search_units},
            {'meter': 'requests', 'list': list_requests, 'contracted': contracted_requests}
        ]) as m
    from rates
    where usage_period = $period
),
prices as (
    select
        o.* exclude (m, agreed_ids), o.m.meter as meter,
        case
            when exists (
                select 1 from agreed a
                where list_contains(o.agreed_ids, a.agreed_id)
                    and (coalesce(a.meter, o.m.meter) in (o.m.meter, if(o.m.meter = 'input', 'input_uncached', o.m.meter))
                        or (o.m.list is null and a.meter = 'input_uncached' and o.m.meter in ('cache_read', 'cache_write_5m', 'cache_write_1h'))))
                then o.m.contracted
            else o.m.list end::decimal(20, 18) as price
    from offered o
),
used as (
    select
        u.provider, u.billing_account_id, u.usage_date, u.model, u.meter, coalesce(u.service_tier, 'standard') as service_tier,
        coalesce(lower(u.region), '') as region, u.context_window, sum(u.quantity)::decimal(38, 12) as quantity
    from provider_usage u
    join days d on d.provider = u.provider and d.billing_account_id = u.billing_account_id and d.usage_date = u.usage_date
    where u.usage_period = $period
    group by all
),
-- As a call is rated: a tier or a place without a price of its own has that of the standard tier, and of everywhere else.
candidates as (
    select
        u.*, p.price, p.input_gt, p.minute_from,
        rank() over (
            partition by u.provider, u.billing_account_id, u.usage_date, u.model, u.meter, u.service_tier, u.region, u.context_window
            order by p.service_tier = u.service_tier desc, p.region = u.region desc,
                coalesce((p.input_gt > 0) = not starts_with(u.context_window, '0'), true) desc) as place
    from used u
    left join named n on n.provider = u.provider and n.model = u.model
    left join prices p on p.provider = n.list.provider and p.model = n.list.model and p.meter = u.meter
        and p.service_tier in (u.service_tier, 'standard') and p.region in (u.region, '')
        and u.usage_date >= p.valid_from and u.usage_date < p.valid_to
),
-- Several prices for one quantity: what each call sent, or when, decides, and no report tells; nor does it tell the month's volume.
reported as (
    select
        c.provider, c.billing_account_id, c.usage_date, c.model, c.meter, c.quantity,
        arg_min(c.price, (c.input_gt, c.minute_from)) as price,
        count(distinct c.price) <= 1 and bool_and(c.meter <> 'input' and t.contract_id is null) as is_certain
    from candidates c
    left join (select distinct contract_id, provider, model, meter, valid_from, valid_to from policy_volume_tiers) t
        on t.provider = c.provider and t.model = c.model and t.meter = c.meter and c.usage_date >= t.valid_from and c.usage_date < t.valid_to
    where c.place = 1
    group by all
),
billed as (
    select
        c.provider, c.billing_account_id, c.usage_date, c.model, c.sku_meter as meter, c.consumed_unit, c.consumed_quantity as quantity,
        c.effective_cost as cost, c.billing_currency,
        date_diff('day', c.charge_period_start, c.charge_period_end) > 1
            or not (c.sku_meter is null or c.consumed_unit is null or c.consumed_unit = 'Tokens' or c.sku_meter in (select meter from our_meters)
                or exists (select 1 from used u where u.provider = c.provider and u.model is not distinct from c.model and u.meter = c.sku_meter))
            as is_alone
    from charge_comparisons k
    join origin_charges c on c.usage_period = $period and c.charge_id = k.charge_id
    join days d on d.provider = c.provider and d.billing_account_id = c.billing_account_id and d.usage_date = c.usage_date
    where k.usage_period = $period
),
-- A call by itself is no quantity that costs, where nothing has a price per call.
sides as (
    select
        provider, billing_account_id, usage_date, model, meter, false as is_billed, false as is_alone, quantity,
        round_even(quantity::decimal(18, 0) * price, 12)::decimal(38, 12) as cost, is_certain,
        if(meter = 'images', 'Images', 'Tokens') as consumed_unit, null::varchar as billing_currency,
        meter in (select meter from our_meters) as is_ours
    from reported
    where meter <> 'requests' or price is not null
    union all by name
    select
        *, true as is_billed, true as is_certain,
        not is_alone and (meter is null or consumed_unit is null or consumed_unit = 'Tokens' or meter in (select meter from our_meters)) as is_ours
    from billed
),
model_days as (
    select
        provider, billing_account_id, usage_date, model,
        coalesce(list_has_all(list(distinct meter) filter (not is_billed), list(distinct coalesce(meter, '')) filter (is_billed)), true) as same_meters
    from sides
    where is_ours
    group by all
),
graded as (
    select
        s.*,
        case
            when s.is_alone then 'none'
            when not s.is_ours then 'meter'
            when bool_or(s.is_ours and s.model is null) over (partition by s.provider, s.billing_account_id, s.usage_date) then 'account-day'
            when m.same_meters and s.meter is not null then 'meter'
            else 'model' end as grain_level
    from sides s
    left join model_days m on s.is_ours and m.provider = s.provider and m.billing_account_id = s.billing_account_id
        and m.usage_date = s.usage_date and m.model is not distinct from s.model
),
compared as (
    select
        provider, billing_account_id, usage_date,
        case when grain_level <> 'account-day' then model end as model,
        case when grain_level in ('meter', 'none') then meter end as meter,
        grain_level,
        bool_or(is_billed) as is_billed, bool_or(not is_billed) as is_reported, bool_and(is_certain) as is_certain,
        any_value(billing_currency) as billing_currency, count(distinct billing_currency) as currencies,
        case when bool_and(grain_level = 'meter' or consumed_unit = 'Tokens') then sum(quantity) filter (not is_billed) end::decimal(38, 12)
            as provider_quantity,
        case when bool_and(grain_level in ('meter', 'none') or coalesce(consumed_unit, '') = 'Tokens') then sum(quantity) filter (is_billed) end::decimal(38, 12)
            as billed_quantity,
        case when count(*) filter (not is_billed and cost is null) = 0 then sum(cost) filter (not is_billed) end::decimal(38, 12) as expected_cost,
        (sum(cost) filter (is_billed))::decimal(38, 12) as billed_cost,
        string_agg(distinct meter, ', ' order by meter) filter (not is_billed and cost is null) as without_price
    from graded
    group by all
),
judged as (
    select
        c.*,
        coalesce(within(billed_quantity - provider_quantity, billed_quantity, t.quantity_percent, t.quantity_tokens), false) as quantity_agrees,
        coalesce(within(billed_cost - expected_cost, billed_cost, t.cost_percent, t.cost_amount), false) as cost_agrees
    from compared c
    join policy_tolerances t on (t.provider is null or t.provider = c.provider)
        and c.usage_date >= t.valid_from and c.usage_date < t.valid_to
    qualify t.ord = min(t.ord) over (partition by c.provider, c.billing_account_id, c.usage_date, c.model, c.meter, c.grain_level)
),
stated as (
    select
        *,
        case
            when grain_level = 'none' then 'not_comparable'
            when not is_reported then 'unreported'
            when expected_cost is null then 'unpriced'
            when not is_billed then 'unbilled'
            when currencies > 1 or billing_currency <> price_currency() then 'not_comparable'
            when cost_agrees and (billed_quantity is null or provider_quantity is null or quantity_agrees) then 'matched'
            when not is_certain then 'not_comparable'
            when billed_quantity is null or provider_quantity is null then 'variance_cost'
            when quantity_agrees then 'variance_price'
            else 'variance_quantity' end as state,
        case when state not in ('unpriced', 'not_comparable') and provider_quantity > 0 and billed_quantity > 0 then
            money(part_of(((billed_quantity - provider_quantity) * 1000)::hugeint, pico(expected_cost), (provider_quantity * 1000)::hugeint))
            end as quantity_variance,
        case when state not in ('unpriced', 'not_comparable') and provider_quantity > 0 and billed_quantity > 0 then
            money(part_of(pico(billed_cost), (provider_quantity * 1000)::hugeint, (billed_quantity * 1000)::hugeint) - pico(expected_cost))
            end as price_variance
    from judged
)
select
    provider, billing_account_id, usage_date, model, meter, grain_level, provider_quantity, billed_quantity, expected_cost, billed_cost,
    coalesce(billing_currency, price_currency()) as billing_currency, quantity_variance, price_variance,
    billed_cost - expected_cost - quantity_variance - price_variance as cross_variance,
    state,
    case
        when state = 'unpriced' then 'no price of ' || without_price
        when state <> 'not_comparable' then null
        when grain_level = 'none' then 'the bill counts what the report does not, or covers several days'
        when currencies > 1 or billing_currency <> price_currency() then 'the bill is in another currency than our prices'
        else 'the price depends on what the report does not tell: the size or the hour of each call, or the volume of the month' end as reason
from stated
