-- Tokens on our own model servers, each kind times its declared weight.
with tokens as (
    select
        usage_date, serving_pool, team_id, project_id, application, environment,
        unnest([
            {'meter': 'input_uncached', 'tokens': sum(input_uncached_tokens)},
            {'meter': 'cache_read', 'tokens': sum(cache_read_tokens)},
            {'meter': 'output', 'tokens': sum(output_tokens)},
            {'meter': 'reasoning', 'tokens': sum(reasoning_tokens)}
        ]) as kind
    from usage_daily
    where serving_pool is not null and usage_date >= $period_start and usage_date < $period_end
    group by all
)
select
    t.usage_date, t.serving_pool, t.team_id as target, t.project_id, t.application, t.environment,
    sum(t.kind.tokens::decimal(18, 0) * w.weight)::decimal(38, 6) as weight
from tokens t
join policy_token_weights w on w.serving_pool = t.serving_pool and w.meter = t.kind.meter
    and t.usage_date >= w.valid_from and t.usage_date < w.valid_to
group by all
