-- What a million tokens of our own model servers cost, by kind of token, with and without idle GPUs; and the weights that decide it.
-- grain: period, serving_pool, meter, weight
--   meter: the kind of token; all: every kind together, weighted
--   weight: what a token of this kind weighs, as teams.yaml declares it
--   weight_from: first day of the declaration; the first day of all where it has none
--   tokens: of this kind, those that no gateway logged included
--   weighted_tokens: tokens times their weight
--   used_cost: cost of the GPUs that worked for the model, of the whole pool
--   idle_cost: cost of its idle GPUs: its own, and its part of what stood free in its cluster, by share of use
--   usage_rate_per_million: used cost per million tokens: compare models with it
--   full_rate_per_million: used and idle cost per million tokens: compare with an API
with portions as (
    select * replace (coalesce(serving_pool, '') as serving_pool)
    from charge_portions
    where cluster is not null
),
cost as (
    select
        usage_period, serving_pool, cluster,
        coalesce(sum(effective_cost) filter (activity <> 'gpu_idle'), 0) as used,
        coalesce(sum(effective_cost) filter (activity = 'gpu_idle'), 0) as idle
    from portions
    group by all
),
spread as (
    select
        *,
        sum(used) over cluster_month as all_used,
        coalesce(sum(idle) filter (serving_pool = '') over cluster_month, 0) as free
    from cost
    window cluster_month as (partition by usage_period, cluster)
),
pools as (
    select
        usage_period as period, serving_pool, sum(used)::decimal(38, 12) as used_cost,
        sum(idle + case when all_used > 0 then money(pico(free) * (used * 1000000)::hugeint // (all_used * 1000000)::hugeint) else 0 end)::decimal(38, 12) as idle_cost
    from spread
    where serving_pool <> ''
    group by all
),
counted as (
    select usage_period as period, serving_pool, meter, weight, weight_from, tokens, weighted_tokens
    from serving_tokens
    union all by name
    select c.usage_period as period, c.serving_pool, c.meter, w.weight, w.valid_from as weight_from,
        c.unattributed_tokens as tokens, c.unattributed_weighted_tokens as weighted_tokens
    from serving_coverage c
    join policy_token_weights w on w.serving_pool = c.serving_pool and w.meter = c.meter
        and c.usage_date >= w.valid_from and c.usage_date < w.valid_to
    where c.unattributed_tokens > 0
),
kinds as (
    select period, serving_pool, meter, weight, weight_from, sum(tokens)::decimal(38, 0) as tokens, sum(weighted_tokens)::decimal(38, 6) as weighted_tokens
    from counted
    group by all
),
totals as (
    select period, serving_pool, sum(tokens)::decimal(38, 0) as tokens, sum(weighted_tokens)::decimal(38, 6) as weighted_tokens
    from kinds
    group by all
),
lines as (
    select period, serving_pool, meter, weight, weight_from, tokens, weighted_tokens from kinds
    union all by name
    select period, serving_pool, 'all' as meter, 1::decimal(12, 6) as weight, null::date as weight_from, tokens, weighted_tokens from totals
)
select
    p.period,
    p.serving_pool,
    l.meter,
    l.weight,
    l.weight_from,
    l.tokens::decimal(38, 0) as tokens,
    l.weighted_tokens::decimal(38, 12) as weighted_tokens,
    p.used_cost,
    p.idle_cost,
    case when t.weighted_tokens > 0 then money(per_million(p.used_cost, l.weight, t.weighted_tokens)) end as usage_rate_per_million,
    case when t.weighted_tokens > 0 then money(per_million(p.used_cost + p.idle_cost, l.weight, t.weighted_tokens)) end as full_rate_per_million
from pools p
join totals t on t.period = p.period and t.serving_pool = p.serving_pool
join lines l on l.period = p.period and l.serving_pool = p.serving_pool
