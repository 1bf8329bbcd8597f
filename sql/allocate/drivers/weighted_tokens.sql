-- Tokens on our own model servers, each kind times its declared weight.
-- called: weighted tokens
-- unit: Weighted Tokens
select
    usage_date, serving_pool, team_id as target, project_id, application, environment,
    sum(weighted_tokens)::decimal(38, 6) as weight
from serving_tokens
where usage_period = $period
group by all
