-- What each team's jobs held of a charge's GPUs while these did nothing, at the price of each hour.
-- called: GPU time held and left idle, at the price of each hour
-- unit: currency
select charge_id, team_id as target, project_id, money(weight) as weight
from charge_gpu
where usage_period = $period and use = 'idle_reserved' and serving_pool is null and weight > 0
