-- What a unit cost on each day: the public list price, and our own price. Of each meter that is the private price, else, where no
-- discount or markup applies, the one that the vendor's bill shows, else the list price less the discount with the narrowest scope.
-- A meter without a price has NULL there. Rates are by seller: a model of another vendor's list has the seller's discounts and bill.
-- grain: rate_id
--   rate_source: contract where a discount, a markup or a private price applies, bill where the unit price is derived from the bill, else list
--   source: the package or page that says the list price; NULL, like recorded_at, where the list does not know the model
--   region: where the price holds; empty for everywhere that has no price of its own
with billed as (
    select
        provider, model, service_tier,
        max(unit_price) filter (meter = 'input_uncached') as input_uncached,
        max(unit_price) filter (meter = 'cache_read') as cache_read,
        max(unit_price) filter (meter = 'cache_write_5m') as cache_write_5m,
        max(unit_price) filter (meter = 'cache_write_1h') as cache_write_1h,
        max(unit_price) filter (meter = 'output') as output,
        coalesce(max(unit_price) filter (meter = 'reasoning'), max(unit_price) filter (meter = 'output')) as reasoning,
        max(unit_price) filter (meter = 'audio_input') as audio_input,
        max(unit_price) filter (meter = 'audio_output') as audio_output,
        max(unit_price) filter (meter = 'images') as images
    from bill_prices
    where usage_period = $period
    group by all
),
named as (
    select price_provider as provider, price_model as model, max(list_provider) as list_provider, max(list_model) as list_model
    from model_names
    where usage_period = $period and price_model is not null
    group by all
),
sold as (
    select provider, model, coalesce(list_provider, provider) as list_provider, coalesce(list_model, model) as list_model, 'standard' as service_tier
    from named
    union
    select b.provider, b.model, coalesce(n.list_provider, b.provider) as list_provider, coalesce(n.list_model, b.model) as list_model, b.service_tier
    from billed b
    left join named n on n.provider = b.provider and n.model = b.model
    union
    select c.other_provider, c.other_model, coalesce(n.list_provider, c.other_provider), coalesce(n.list_model, c.other_model), 'standard'
    from policy_candidates c
    left join named n on n.provider = c.other_provider and n.model = c.other_model
    where c.other_model is not null
),
-- A model that its seller has from another has the other's list price. One that only a contract or the bill prices has none.
listed as (
    select r.* exclude (rate_id, rate_source, currency) replace (s.provider as provider, s.model as model)
    from rate_table r
    join (select distinct provider, model, list_provider, list_model from sold) s on s.list_provider = r.provider and s.list_model = r.model
    union all by name
    select
        s.provider, s.model, s.service_tier, '' as region, date '0001-01-01' as valid_from, date '9999-12-31' as valid_to, 0 as minute_from, 1440 as minute_to,
        -1 as input_gt, 9223372036854775807 as input_le
    from sold s
    anti join rate_table r on r.provider = s.list_provider and r.model = s.list_model
),
-- The vendor's products that sold a model, as the bills so far name them.
services as (
    select distinct provider, model, service
    from bill_lines
    where usage_period <= $period and model is not null and provider in (select provider from policy_discounts where service is not null)
),
-- They are off the list price: a model without one has none.
discounts as (
    select l.provider, l.model, d.* exclude (provider, model),
        case when d.meter is not null then 1 when d.model is not null then 2 when d.service is not null then 3
            when d.provider is not null then 4 else 5 end as breadth
    from (select distinct provider, model from listed where recorded_at is not null) l
    join policy_discounts d on coalesce(d.provider, l.provider) = l.provider and coalesce(d.model, l.model) = l.model
    where d.service is null or exists (
        select 1 from services s where s.provider = l.provider and s.model = l.model and s.service = d.service)
),
-- A rate holds between two days on which nothing about its price changes.
cuts as (
    select distinct l.provider, l.model, l.service_tier, l.region, l.minute_from, l.input_gt, cut
    from listed l, lateral (
        select unnest([l.valid_from, l.valid_to]) as cut
        union all select unnest([p.valid_from, p.valid_to]) from policy_private_prices p where p.provider = l.provider and p.model = l.model
        union all select unnest([d.valid_from, d.valid_to]) from discounts d where d.provider = l.provider and d.model = l.model
    )
),
windows as (
    select
        provider, model, service_tier, region, minute_from, input_gt, cut as valid_from,
        lead(cut) over (partition by provider, model, service_tier, region, minute_from, input_gt order by cut) as valid_to
    from cuts
),
days as (
    select distinct provider, model, valid_from from windows where valid_to is not null
),
private as (
    select
        w.provider, w.model, w.valid_from, string_agg(p.price_id, '+' order by p.price_id) as price_id,
        max(p.per_token) filter (p.meter = 'input_uncached') as input_uncached,
        max(p.per_token) filter (p.meter = 'cache_read') as cache_read,
        max(p.per_token) filter (p.meter = 'cache_write_5m') as cache_write_5m,
        max(p.per_token) filter (p.meter = 'cache_write_1h') as cache_write_1h,
        max(p.per_token) filter (p.meter = 'output') as output,
        max(p.per_token) filter (p.meter = 'reasoning') as reasoning
    from days w
    join policy_private_prices p on p.provider = w.provider and p.model = w.model
        and w.valid_from >= p.valid_from and w.valid_from < p.valid_to
    group by all
),
-- Percent off each meter of a model, by the narrowest scope; reasoning is output where it is not named itself.
agreed as (
    select
        w.provider, w.model, w.valid_from, string_agg(distinct d.discount_id, '+' order by d.discount_id) as discount_id,
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'input_uncached') as input_uncached,
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'cache_read') as cache_read,
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'cache_write_5m') as cache_write_5m,
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'cache_write_1h') as cache_write_1h,
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'output') as output,
        arg_min(d.percent, d.breadth * 2 + coalesce(d.meter = 'output', false)::integer) filter (d.meter is null or d.meter in ('output', 'reasoning')) as reasoning,
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'audio_input') as audio_input,
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'audio_output') as audio_output,
        arg_min(d.percent, d.breadth) filter (d.meter is null) as other
    from days w
    join discounts d on d.provider = w.provider and d.model = w.model and w.valid_from >= d.valid_from and w.valid_from < d.valid_to
    group by all
)
select
    md5(concat_ws('|', l.provider, l.model, l.service_tier, l.region, l.minute_from, l.input_gt, w.valid_from, coalesce(p.price_id, ''), coalesce(d.discount_id, '')))[:16] as rate_id,
    case when p.price_id is not null or d.discount_id is not null then 'contract' when b.model is not null then 'bill' else 'list' end as rate_source,
    concat_ws('+', p.price_id, d.discount_id) as contract_id,
    l.provider, l.model, l.service_tier, l.region, w.valid_from, w.valid_to, l.minute_from, l.minute_to, l.input_gt, l.input_le,
    l.source, l.recorded_at, l.source_version,
    l.input_uncached as list_input_uncached,
    l.cache_read as list_cache_read,
    l.cache_write_5m as list_cache_write_5m,
    l.cache_write_1h as list_cache_write_1h,
    l.output as list_output,
    l.reasoning as list_reasoning,
    l.audio_input as list_audio_input,
    l.audio_output as list_audio_output,
    l.images as list_images,
    l.search_units as list_search_units,
    l.requests as list_requests,
    coalesce(p.input_uncached, case when d.input_uncached is null then b.input_uncached end, (l.input_uncached * ((100 - coalesce(d.input_uncached, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_input_uncached,
    coalesce(p.cache_read, case when d.cache_read is null then b.cache_read end, (l.cache_read * ((100 - coalesce(d.cache_read, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_cache_read,
    coalesce(p.cache_write_5m, case when d.cache_write_5m is null then b.cache_write_5m end, (l.cache_write_5m * ((100 - coalesce(d.cache_write_5m, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_cache_write_5m,
    coalesce(p.cache_write_1h, case when d.cache_write_1h is null then b.cache_write_1h end, (l.cache_write_1h * ((100 - coalesce(d.cache_write_1h, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_cache_write_1h,
    coalesce(p.output, case when d.output is null then b.output end, (l.output * ((100 - coalesce(d.output, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_output,
    coalesce(p.reasoning, p.output, case when d.reasoning is null then b.reasoning end, (l.reasoning * ((100 - coalesce(d.reasoning, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_reasoning,
    coalesce(case when d.audio_input is null then b.audio_input end, (l.audio_input * ((100 - coalesce(d.audio_input, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_audio_input,
    coalesce(case when d.audio_output is null then b.audio_output end, (l.audio_output * ((100 - coalesce(d.audio_output, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.output) as contracted_audio_output,
    coalesce(case when d.other is null then b.images end, (l.images * ((100 - coalesce(d.other, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_images,
    (l.search_units * ((100 - coalesce(d.other, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18) as contracted_search_units,
    (l.requests * ((100 - coalesce(d.other, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18) as contracted_requests
from windows w
join listed l on l.provider = w.provider and l.model = w.model and l.service_tier = w.service_tier and l.region = w.region
    and l.minute_from = w.minute_from and l.input_gt = w.input_gt and w.valid_from >= l.valid_from and w.valid_from < l.valid_to
left join private p on p.provider = w.provider and p.model = w.model and p.valid_from = w.valid_from
left join agreed d on d.provider = w.provider and d.model = w.model and d.valid_from = w.valid_from
left join billed b on b.provider = w.provider and b.model = w.model and b.service_tier = w.service_tier
where w.valid_to is not null
