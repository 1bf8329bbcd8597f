-- What a million weighted tokens of our own model servers cost, with and without idle GPUs.
-- grain: period, serving_pool
--   weighted_tokens: tokens times the declared weight of their kind
--   used_cost: cost of the GPUs that held the model
--   idle_cost: cost of the pool's GPUs that nobody held
--   usage_rate_per_million: used cost per million weighted tokens: compare models with it
--   full_rate_per_million: used and idle cost per million weighted tokens: compare with an API
with cost as (
    select
        usage_period as period, serving_pool,
        sum(effective_cost) filter (activity <> 'gpu_idle') as used_cost,
        coalesce(sum(effective_cost) filter (activity = 'gpu_idle'), 0) as idle_cost
    from charge_portions
    where serving_pool is not null
    group by all
),
weights as (
    select
        p.period, u.serving_pool,
        sum(u.input_uncached_tokens::decimal(18, 0) * coalesce(i.weight, 0) + u.cache_read_tokens::decimal(18, 0) * coalesce(c.weight, 0)
            + (u.output_tokens + u.reasoning_tokens)::decimal(18, 0) * coalesce(o.weight, 0))::decimal(38, 6) as weighted_tokens
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    left join policy_token_weights i on i.serving_pool = u.serving_pool and i.meter = 'input_uncached'
        and u.usage_date >= i.valid_from and u.usage_date < i.valid_to
    left join policy_token_weights c on c.serving_pool = u.serving_pool and c.meter = 'cache_read'
        and u.usage_date >= c.valid_from and u.usage_date < c.valid_to
    left join policy_token_weights o on o.serving_pool = u.serving_pool and o.meter = 'output'
        and u.usage_date >= o.valid_from and u.usage_date < o.valid_to
    where u.serving_pool is not null
    group by all
)
select
    c.period,
    c.serving_pool,
    w.weighted_tokens::decimal(38, 12) as weighted_tokens,
    c.used_cost::decimal(38, 12) as used_cost,
    c.idle_cost::decimal(38, 12) as idle_cost,
    case when w.weighted_tokens > 0 then money(pico(c.used_cost) * 1000000 // w.weighted_tokens::hugeint) end as usage_rate_per_million,
    case when w.weighted_tokens > 0 then money(pico(c.used_cost + c.idle_cost) * 1000000 // w.weighted_tokens::hugeint) end as full_rate_per_million
from cost c
left join weights w on w.period = c.period and w.serving_pool = c.serving_pool
