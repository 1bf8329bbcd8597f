-- Weighted tokens of the model servers that stand in a cluster.
-- called: weighted tokens of its model servers
-- unit: Weighted Tokens
select t.usage_date, p.cluster, t.team_id as target, sum(t.weighted_tokens)::decimal(38, 6) as weight
from serving_tokens t
join policy_serving_pools p on p.serving_pool = t.serving_pool
where t.usage_period = $period
group by all
