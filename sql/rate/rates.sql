-- What a token cost on each day: the public list price, and the price agreed with the vendor.
-- A private price goes before a discount or markup; of those the one with the narrowest scope holds.
-- grain: rate_id
--   rate_source: list, or contract where a discount, a markup or a private price applies
with used as (
    select distinct price_provider, price_model from model_names where usage_period = $period and price_model is not null
),
-- A model that only a contract prices has no list price; what the contract leaves out is priced as input or output.
listed as (
    select r.* exclude (rate_id, rate_source, currency)
    from rate_table r
    join used u on u.price_provider = r.provider and u.price_model = r.model
    union all by name
    select
        u.price_provider as provider, u.price_model as model, 'standard' as service_tier, date '0001-01-01' as valid_from,
        date '9999-12-31' as valid_to, -1 as input_gt, 9223372036854775807 as input_le
    from used u
    anti join rate_table r on r.provider = u.price_provider and r.model = u.price_model
),
-- The vendor's products that sold a model, as the bills so far name them.
services as (
    select distinct provider, model, service
    from bill_lines
    where usage_period <= $period and model is not null and provider in (select provider from policy_discounts where service is not null)
),
discounts as (
    select l.provider, l.model, d.* exclude (provider, model),
        case when d.meter is not null then 1 when d.model is not null then 2 when d.service is not null then 3
            when d.provider is not null then 4 else 5 end as breadth
    from (select distinct provider, model from listed) l
    join policy_discounts d on coalesce(d.provider, l.provider) = l.provider and coalesce(d.model, l.model) = l.model
    where d.service is null or exists (
        select 1 from services s where s.provider = l.provider and s.model = l.model and s.service = d.service)
),
-- A rate holds between two days on which nothing about its price changes.
cuts as (
    select distinct l.provider, l.model, l.service_tier, l.input_gt, cut
    from listed l, lateral (
        select unnest([l.valid_from, l.valid_to]) as cut
        union all select unnest([p.valid_from, p.valid_to]) from policy_private_prices p where p.provider = l.provider and p.model = l.model
        union all select unnest([d.valid_from, d.valid_to]) from discounts d where d.provider = l.provider and d.model = l.model
    )
),
windows as (
    select
        provider, model, service_tier, input_gt, cut as valid_from,
        lead(cut) over (partition by provider, model, service_tier, input_gt order by cut) as valid_to
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
        arg_min(d.percent, d.breadth) filter (d.meter is null or d.meter = 'audio_output') as audio_output
    from days w
    join discounts d on d.provider = w.provider and d.model = w.model and w.valid_from >= d.valid_from and w.valid_from < d.valid_to
    group by all
)
select
    md5(concat_ws('|', l.provider, l.model, l.service_tier, l.input_gt, w.valid_from, coalesce(p.price_id, ''), coalesce(d.discount_id, '')))[:16] as rate_id,
    case when p.price_id is not null or d.discount_id is not null then 'contract' else 'list' end as rate_source,
    concat_ws('+', p.price_id, d.discount_id) as contract_id,
    l.provider, l.model, l.service_tier, w.valid_from, w.valid_to, l.input_gt, l.input_le,
    l.input_uncached as list_input_uncached,
    l.cache_read as list_cache_read,
    l.cache_write_5m as list_cache_write_5m,
    l.cache_write_1h as list_cache_write_1h,
    l.output as list_output,
    l.reasoning as list_reasoning,
    l.audio_input as list_audio_input,
    l.audio_output as list_audio_output,
    coalesce(p.input_uncached, (l.input_uncached * ((100 - coalesce(d.input_uncached, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_input_uncached,
    coalesce(p.cache_read, (l.cache_read * ((100 - coalesce(d.cache_read, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_cache_read,
    coalesce(p.cache_write_5m, (l.cache_write_5m * ((100 - coalesce(d.cache_write_5m, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_cache_write_5m,
    coalesce(p.cache_write_1h, (l.cache_write_1h * ((100 - coalesce(d.cache_write_1h, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_cache_write_1h,
    coalesce(p.output, (l.output * ((100 - coalesce(d.output, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_output,
    coalesce(p.reasoning, p.output, (l.reasoning * ((100 - coalesce(d.reasoning, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_reasoning,
    coalesce((l.audio_input * ((100 - coalesce(d.audio_input, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.input_uncached) as contracted_audio_input,
    coalesce((l.audio_output * ((100 - coalesce(d.audio_output, 0)) * 0.01)::decimal(12, 8))::decimal(24, 18), p.output) as contracted_audio_output
from windows w
join listed l on l.provider = w.provider and l.model = w.model and l.service_tier = w.service_tier
    and l.input_gt = w.input_gt and w.valid_from >= l.valid_from and w.valid_from < l.valid_to
left join private p on p.provider = w.provider and p.model = w.model and p.valid_from = w.valid_from
left join agreed d on d.provider = w.provider and d.model = w.model and d.valid_from = w.valid_from
where w.valid_to is not null
