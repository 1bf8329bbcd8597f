-- What teams owe at the published rate card: quantity times rate, per line, team, day and who used it. Quantities are whole
-- millionths of a token, GPU-hour, query, unit or GB-month, so that quantity times rate is the amount.
-- grain: charge_id, project_id, application, environment, activity
with sums as (
    select
        usage_date, provider, serving_pool, model, team_id, project_id, application, environment,
        case when serving_pool is null and operation in ('embedding', 'index_write') then 'embedding' else 'inference' end as activity,
        sum(input_uncached_tokens) as input_uncached, sum(cache_read_tokens) as cache_read,
        sum(cache_write_5m_tokens) as cache_write_5m, sum(cache_write_1h_tokens) as cache_write_1h,
        sum(output_tokens + reasoning_tokens) as output
    from usage_daily
    where usage_date >= $period_start and usage_date < $period_end
    group by all
),
kinds as (
    unpivot sums on input_uncached, cache_read, cache_write_5m, cache_write_1h, output into name meter value tokens
),
-- A kind of token goes by the line that names it, else by that for all input, else by that for all tokens.
tokens as (
    select
        r.line_id, k.usage_date, k.team_id, k.project_id, k.application, k.environment, k.activity, k.model,
        k.tokens::hugeint * 1000000 as millionths
    from kinds k
    join policy_rate_card r on k.usage_date >= r.valid_from and k.usage_date < r.valid_to
        and case r.covers
            when 'serving_pool' then k.serving_pool = r.serving_pool
            when 'model' then k.serving_pool is null and k.provider = r.provider and k.model = r.model end
        and (r.meter in (k.meter, 'tokens') or (r.meter = 'input' and k.meter <> 'output'))
    where k.tokens > 0
    qualify row_number() over (
        partition by k.usage_date, k.provider, k.serving_pool, k.model, k.team_id, k.project_id, k.application, k.environment,
            k.activity, k.meter
        order by array_position([k.meter, 'input', 'tokens'], r.meter)
    ) = 1
),
gpus as (
    select
        r.line_id, g.usage_date, g.team_id, g.project_id, 'training' as activity,
        (sum((g.gpu_seconds * 1000000)::hugeint * (case r.unit when 'GPU-hour' then 1 else e.equivalent end * 1000000)::hugeint)
            + 1800000000) // 3600000000 as millionths
    from gpu_hourly g
    join policy_rate_card r on r.cluster = g.cluster and g.usage_date >= r.valid_from and g.usage_date < r.valid_to
    left join policy_gpu_equivalents e on e.gpu_model = g.gpu_model and g.usage_date >= e.valid_from and g.usage_date < e.valid_to
    where g.usage_period = $period and g.serving_pool is null and g.use in ('used', 'idle_reserved')
        and (r.unit = 'GPU-hour' or e.equivalent is not null)
    group by all
),
queries as (
    select
        r.line_id, u.usage_date, u.team_id, u.project_id, u.application, u.environment, 'query' as activity,
        u.queries::hugeint * 1000000 as millionths
    from usage_daily u
    join policy_rate_card r on r.meter = 'queries' and u.vector_index_id = coalesce(r.vector_index_id, u.vector_index_id)
        and u.usage_date >= r.valid_from and u.usage_date < r.valid_to
    where u.usage_date >= $period_start and u.usage_date < $period_end and u.operation = 'vector_query' and u.queries > 0
),
-- What the bill counts goes by the rules that would share its cost.
billed as (
    select
        r.line_id, p.usage_date, a.target as team_id, a.project_id, a.application, a.environment, p.activity,
        sold_millionths(p.consumed_unit, a.consumed_quantity) as millionths
    from allocations a
    join charge_portions p on p.usage_period = $period and p.charge_id = a.charge_id and p.portion = a.portion
    join policy_rate_card r on r.meter = index_meter(p.activity, p.consumed_unit) and p.charge_category = 'Usage'
        and p.vector_index_id = coalesce(r.vector_index_id, p.vector_index_id) and p.provider = coalesce(r.provider, p.provider)
        and p.usage_date >= r.valid_from and p.usage_date < r.valid_to
    where a.consumed_quantity > 0
),
used as (
    select * from tokens
    union all by name
    select * from gpus
    union all by name
    select * from queries
    union all by name
    select * from billed
),
together as (
    select
        line_id, usage_date, team_id, project_id, application, environment, activity,
        case when count(distinct model) = 1 then min(model) end as model,
        sum(millionths)::hugeint as millionths
    from used
    group by all
),
priced as (
    select
        u.*, r.rate_card_id, r.service, r.serving_pool, r.cluster, r.vector_index_id, r.meter, r.unit,
        case r.meter
            when 'gpu_hours' then case r.unit when 'GPU-hour' then 'GPU-Hours' else 'Equivalent GPU-Hours' end
            when 'queries' then 'Queries' when 'read_units' then 'Read Units' when 'write_units' then 'Write Units'
            when 'gb_months' then 'GB-Months' else 'Tokens' end as consumed_unit,
        coalesce(t.rate, r.rate)::decimal(18, 12) as rate,
        (u.millionths * pico(coalesce(t.rate, r.rate)) + r.per_unit * 500000) // (r.per_unit * 1000000) as units
    from together u
    join policy_rate_card r on r.line_id = u.line_id
    left join policy_team_rates t on t.line_id = u.line_id and t.team_id = u.team_id
        and u.usage_date >= t.valid_from and u.usage_date < t.valid_to
    where u.millionths > 0
)
select
    key_of(['tariff', p.rate_card_id, p.line_id, p.team_id, p.usage_date::varchar, $period]) as charge_id,
    p.*,
    (p.millionths::decimal(38, 0) * 0.000001::decimal(6, 6))::decimal(38, 12) as consumed_quantity,
    money(p.units) as amount,
    (select min(legal_entity) from policy_team_cost_centers t join policy_company c on c.platform_team = t.team_id
        where p.usage_date >= t.valid_from and p.usage_date < t.valid_to) as legal_entity,
    (select currency from policy_company) as currency
from priced p
