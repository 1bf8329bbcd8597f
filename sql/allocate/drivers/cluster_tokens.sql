-- Weighted tokens of the model servers that stand in a cluster.
with weighted as (
    select
        u.usage_date, p.cluster, u.team_id,
        sum(u.input_uncached_tokens::decimal(18, 0) * coalesce(i.weight, 0) + u.cache_read_tokens::decimal(18, 0) * coalesce(c.weight, 0)
            + (u.output_tokens + u.reasoning_tokens)::decimal(18, 0) * coalesce(o.weight, 0))::decimal(38, 6) as weight
    from usage_daily u
    join policy_serving_pools p on p.serving_pool = u.serving_pool
    left join policy_token_weights i on i.serving_pool = u.serving_pool and i.meter = 'input_uncached'
        and u.usage_date >= i.valid_from and u.usage_date < i.valid_to
    left join policy_token_weights c on c.serving_pool = u.serving_pool and c.meter = 'cache_read'
        and u.usage_date >= c.valid_from and u.usage_date < c.valid_to
    left join policy_token_weights o on o.serving_pool = u.serving_pool and o.meter = 'output'
        and u.usage_date >= o.valid_from and u.usage_date < o.valid_to
    where u.usage_date >= $period_start and u.usage_date < $period_end
    group by all
)
select usage_date, cluster, team_id as target, weight
from weighted
