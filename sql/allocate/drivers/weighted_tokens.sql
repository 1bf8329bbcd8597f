-- Tokens on our own model servers, each kind times its declared weight.
with sums as (
    select
        usage_date, serving_pool, team_id, project_id, application, environment,
        sum(input_uncached_tokens) as input_uncached, sum(cache_read_tokens) as cache_read, sum(output_tokens) as output,
        sum(reasoning_tokens) as reasoning
    from usage_daily
    where serving_pool is not null and usage_date >= $period_start and usage_date < $period_end
    group by all
),
used as (
    unpivot sums on input_uncached, cache_read, output, reasoning into name meter value tokens
)
select
    t.usage_date, t.serving_pool, t.team_id as target, t.project_id, t.application, t.environment,
    sum(t.tokens::decimal(18, 0) * w.weight)::decimal(38, 6) as weight
from used t
join policy_token_weights w on w.serving_pool = t.serving_pool and w.meter = t.meter
    and t.usage_date >= w.valid_from and t.usage_date < w.valid_to
group by all
