-- Our own model servers against the vendors' models that budgets.yaml compares them with: what the pool's own tokens would have cost there,
-- at the price on the last day that we have, and from which utilization on the pool is the cheaper one.
-- grain: period, serving_pool, provider, model
--   provider: vendor of the model that it is compared with
--   model: the model that it is compared with
--   tokens: tokens that the pool served
--   used_cost: cost of its GPUs that worked
--   idle_cost: cost of its idle GPUs, its part of what stood free in its cluster included
--   own_cost: both
--   vendor_cost: the same tokens at the vendor's price; NULL where a kind of token has none
--   own_rate_per_million: own_cost for a million of these tokens
--   vendor_rate_per_million: vendor_cost for a million
--   utilization_percent: used_cost in percent of own_cost; like the next two NULL where credits made a part of it negative
--   break_even_percent: the utilization from which on the pool is cheaper; above 100 it never is
--   break_even_tokens: tokens of this mix that the vendor would serve for own_cost
--   cheaper: own, vendor, equal, or NULL where it is not known
with meters as (
    select b.period, b.serving_pool, b.meter, sum(b.tokens) as tokens, max(b.used_cost) as used_cost, max(b.idle_cost) as idle_cost
    from blended_rates b
    where b.meter <> 'all'
    group by all
),
compared as (
    select distinct serving_pool, provider, model from policy_candidates where serving_pool is not null
),
priced as (
    select
        m.*, c.provider, c.model,
        case m.meter when 'input_uncached' then r.contracted_input_uncached when 'cache_read' then coalesce(r.contracted_cache_read, r.contracted_input_uncached)
            when 'output' then r.contracted_output when 'reasoning' then coalesce(r.contracted_reasoning, r.contracted_output) end::decimal(20, 18) as price
    from meters m
    join periods p on p.period = m.period
    join compared c on c.serving_pool = m.serving_pool
    left join rates r on r.usage_period = m.period and r.provider = c.provider and r.model = c.model and r.service_tier = 'standard'
        and r.region = '' and r.input_gt = -1 and r.minute_from = 0
        and r.valid_from <= least(p.ends_on - 1, $through::date) and r.valid_to > least(p.ends_on - 1, $through::date)
),
sums as (
    select
        period, serving_pool, provider, model, sum(tokens)::decimal(38, 0) as tokens, max(used_cost) as used_cost, max(idle_cost) as idle_cost,
        least(max(used_cost), max(idle_cost)) >= 0 as is_plain,
        case when bool_and(price is not null or tokens = 0) then sum(tokens::decimal(18, 0) * price) end::decimal(38, 12) as vendor_cost
    from priced
    group by all
)
select
    period, serving_pool, provider, model, tokens, used_cost, idle_cost, (used_cost + idle_cost)::decimal(38, 12) as own_cost, vendor_cost,
    for_each((used_cost + idle_cost) * 1000000, tokens) as own_rate_per_million,
    for_each(vendor_cost * 1000000, tokens) as vendor_rate_per_million,
    case when is_plain then percent_of(used_cost, used_cost + idle_cost) end as utilization_percent,
    case when is_plain then percent_of(used_cost, vendor_cost) end as break_even_percent,
    case when is_plain then (pico(used_cost + idle_cost) * tokens::hugeint // nullif(pico(vendor_cost), 0))::decimal(38, 0) end as break_even_tokens,
    case when used_cost + idle_cost < vendor_cost then 'own' when used_cost + idle_cost > vendor_cost then 'vendor' when used_cost + idle_cost = vendor_cost then 'equal' end as cheaper
from sums
