-- Tokens on our own model servers, by who used them, with what a token of each kind weighed on that day.
-- A token of reasoning weighs as one of output.
-- grain: usage_date, serving_pool, team_id, project_id, application, environment, meter
--   weighted_tokens: tokens times the weight that teams.yaml declares for their kind
with sums as (
    select
        usage_date, serving_pool, team_id, project_id, application, environment,
        sum(input_uncached_tokens) as input_uncached, sum(cache_read_tokens) as cache_read,
        sum(output_tokens + reasoning_tokens) as output
    from usage_daily
    where serving_pool is not null and usage_date >= $period_start and usage_date < $period_end
    group by all
),
used as (
    unpivot sums on input_uncached, cache_read, output into name meter value tokens
)
select
    u.usage_date, u.serving_pool, u.team_id, u.project_id, u.application, u.environment, u.meter,
    u.tokens::hugeint as tokens, w.weight, w.valid_from as weight_from,
    (u.tokens::decimal(18, 0) * w.weight)::decimal(38, 6) as weighted_tokens
from used u
join policy_token_weights w on w.serving_pool = u.serving_pool and w.meter = u.meter
    and u.usage_date >= w.valid_from and u.usage_date < w.valid_to
where u.tokens > 0
