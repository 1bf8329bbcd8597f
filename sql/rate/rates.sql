-- What a token cost on each day: the public list price, and the price agreed with the vendor.
-- grain: rate_id
--   rate_source: list, or contract where a discount or a private price applies
with private as (
    select
        provider, model, valid_from, valid_to, string_agg(price_id, '+' order by price_id) as price_id,
        max(per_token) filter (meter = 'input_uncached') as input_uncached,
        max(per_token) filter (meter = 'cache_read') as cache_read,
        max(per_token) filter (meter = 'cache_write_5m') as cache_write_5m,
        max(per_token) filter (meter = 'cache_write_1h') as cache_write_1h,
        max(per_token) filter (meter = 'output') as output,
        max(per_token) filter (meter = 'reasoning') as reasoning
    from policy_private_prices
    group by all
),
used as (
    select distinct price_provider, price_model from model_names where usage_period = $period and price_model is not null
),
listed as (
    select r.*
    from rate_table r
    join used u on u.price_provider = r.provider and u.price_model = r.model
),
-- A rate holds between two days on which nothing about its price changes.
cuts as (
    select distinct l.provider, l.model, l.service_tier, l.input_gt, cut
    from listed l, lateral (
        select unnest([l.valid_from, l.valid_to]) as cut
        union all select p.valid_from from private p where p.provider = l.provider and p.model = l.model
        union all select p.valid_to from private p where p.provider = l.provider and p.model = l.model
        union all select d.valid_from from policy_discounts d where d.provider = l.provider
        union all select d.valid_to from policy_discounts d where d.provider = l.provider
    )
),
windows as (
    select
        provider, model, service_tier, input_gt, cut as valid_from,
        lead(cut) over (partition by provider, model, service_tier, input_gt order by cut) as valid_to
    from cuts
),
priced as (
    select
        l.* exclude (valid_from, valid_to),
        w.valid_from,
        w.valid_to,
        p.price_id,
        p.input_uncached as private_input_uncached,
        p.cache_read as private_cache_read,
        p.cache_write_5m as private_cache_write_5m,
        p.cache_write_1h as private_cache_write_1h,
        p.output as private_output,
        coalesce(p.reasoning, p.output) as private_reasoning,
        d.discount_id,
        coalesce(d.percent, 0)::decimal(9, 6) as percent
    from windows w
    join listed l on l.provider = w.provider and l.model = w.model and l.service_tier = w.service_tier
        and l.input_gt = w.input_gt and w.valid_from >= l.valid_from and w.valid_from < l.valid_to
    left join private p on p.provider = l.provider and p.model = l.model
        and w.valid_from >= p.valid_from and w.valid_from < p.valid_to
    left join policy_discounts d on d.provider = l.provider and (d.model is null or d.model = l.model)
        and w.valid_from >= d.valid_from and w.valid_from < d.valid_to
    where w.valid_to is not null
    qualify row_number() over (
        partition by l.provider, l.model, l.service_tier, l.input_gt, w.valid_from, l.valid_from
        order by (d.model is not null) desc, d.discount_id
    ) = 1
)
select
    md5(concat_ws('|', provider, model, service_tier, input_gt, valid_from, coalesce(price_id, ''), coalesce(discount_id, '')))[:16] as rate_id,
    case when price_id is not null or discount_id is not null then 'contract' else 'list' end as rate_source,
    concat_ws('+', price_id, discount_id) as contract_id,
    provider, model, service_tier, valid_from, valid_to, input_gt, input_le,
    input_uncached as list_input_uncached,
    cache_read as list_cache_read,
    cache_write_5m as list_cache_write_5m,
    cache_write_1h as list_cache_write_1h,
    output as list_output,
    reasoning as list_reasoning,
    audio_input as list_audio_input,
    audio_output as list_audio_output,
    coalesce(private_input_uncached, (input_uncached * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_input_uncached,
    coalesce(private_cache_read, (cache_read * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_cache_read,
    coalesce(private_cache_write_5m, (cache_write_5m * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_cache_write_5m,
    coalesce(private_cache_write_1h, (cache_write_1h * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_cache_write_1h,
    coalesce(private_output, (output * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_output,
    coalesce(private_reasoning, (reasoning * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18)) as contracted_reasoning,
    (audio_input * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18) as contracted_audio_input,
    (audio_output * ((100 - percent) * 0.01)::decimal(12, 8))::decimal(24, 18) as contracted_audio_output
from priced
