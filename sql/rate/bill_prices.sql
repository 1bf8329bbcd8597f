-- What the vendors' own bills charged for a unit in the month, where they count what they charge.
-- Bills in dollars only, as the list is; corrections and free units say nothing about a price. A price that moved within the month
-- by more than 0.01% is none: steps of the context are mixed in it, or it differs from the price that we know, for the reconciliation to show.
-- One that is twenty times the list price, or a twentieth of it, counts in another unit than it says, and is none either; so is a dollar for a token.
-- grain: provider, model, service_tier, meter
with days as (
    select
        provider, model, service_tier, sku_meter as meter, usage_date,
        sum(consumed_quantity)::decimal(38, 12) as quantity,
        sum(contracted_cost)::decimal(38, 12) as cost
    from bill_lines
    where usage_period = $period and charge_category = 'Usage' and coalesce(charge_class, '') <> 'Correction'
        and billing_currency = price_currency() and model is not null and vector_index_id is null and cluster is null
        and ((consumed_unit = 'Tokens' and sku_meter in (
                'input_uncached', 'cache_read', 'cache_write_5m', 'cache_write_1h', 'output', 'reasoning', 'audio_input', 'audio_output'))
            or (consumed_unit = 'Images' and sku_meter = 'images'))
    group by all
    having sum(consumed_quantity) >= 0.001 and sum(contracted_cost) > 0
),
listed_units as (
    unpivot (select provider, model, input_uncached, cache_read, cache_write_5m, cache_write_1h, output, audio_input, audio_output, images from rate_table)
    on input_uncached, cache_read, cache_write_5m, cache_write_1h, output, audio_input, audio_output, images into name meter value price
),
listed as (
    select n.provider, n.model, l.meter, min(l.price) as lowest, max(l.price) as highest
    from listed_units l
    join (select distinct provider, model, list_provider, list_model from model_names where usage_period = $period) n
        on n.list_provider = l.provider and n.list_model = l.model
    where l.price > 0
    group by all
),
charged as (
    select
        provider, model, service_tier, meter, sum(quantity)::decimal(38, 12) as quantity, sum(cost)::decimal(38, 12) as cost,
        min(pico(cost) * 1000000000 // (quantity * 1000)::hugeint) as lowest,
        max(pico(cost) * 1000000000 // (quantity * 1000)::hugeint) as highest
    from days
    group by all
),
priced as (
    select
        provider, model, service_tier, meter, quantity, cost,
        ((pico(cost) * 1000000000 // (quantity * 1000)::hugeint)::decimal(38, 0) * 0.000000000000000001::decimal(18, 18)) as price
    from charged
    where (highest - lowest) * 10000 <= highest
)
select
    p.provider, p.model, p.service_tier, p.meter, p.quantity, p.cost, p.price::decimal(24, 18) as unit_price
from priced p
left join listed l on l.provider = p.provider and l.model = p.model and l.meter = if(p.meter = 'reasoning', 'output', p.meter)
where p.price < if(p.meter = 'images', 100, 1) and coalesce(p.price <= l.highest * 20 and p.price * 20 >= l.lowest, true)
