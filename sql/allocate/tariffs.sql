-- What teams owe at the published rate card: quantity times rate, per team, line and day.
-- grain: charge_id
with sums as (
    select
        usage_date, serving_pool, model, team_id, project_id, application, environment,
        sum(input_uncached_tokens) as input_uncached, sum(cache_read_tokens) as cache_read,
        sum(cache_write_5m_tokens) as cache_write_5m, sum(cache_write_1h_tokens) as cache_write_1h,
        sum(output_tokens + reasoning_tokens) as output
    from usage_daily
    where serving_pool is not null and usage_date >= $period_start and usage_date < $period_end
    group by all
),
used as (
    unpivot sums on input_uncached, cache_read, cache_write_5m, cache_write_1h, output into name meter value tokens
),
priced as (
    select
        r.line_id, r.rate_card_id, r.service, u.serving_pool, u.model, r.meter, r.unit, u.usage_date, u.team_id, u.project_id,
        u.application, u.environment,
        u.tokens::hugeint as quantity,
        r.rate,
        (u.tokens::hugeint * pico(r.rate) + r.per_unit // 2) // r.per_unit as units
    from used u
    join policy_rate_card r on r.serving_pool = u.serving_pool and r.meter = u.meter
        and u.usage_date >= r.valid_from and u.usage_date < r.valid_to
    where u.tokens > 0
)
select
    key_of(['tariff', p.rate_card_id, p.line_id, p.team_id, p.usage_date::varchar, $period]) as charge_id,
    p.*,
    p.quantity::decimal(38, 12) as consumed_quantity,
    money(p.units) as amount,
    (select min(legal_entity) from policy_team_cost_centers t join policy_company c on c.platform_team = t.team_id
        where p.usage_date >= t.valid_from and p.usage_date < t.valid_to) as legal_entity,
    (select currency from policy_company) as currency
from priced p
