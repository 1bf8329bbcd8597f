-- What each team's jobs held of a charge's GPUs while they worked, at the price of each hour.
-- called: GPU time worked, at the price of each hour
-- unit: currency
select charge_id, team_id as target, project_id, money(weight) as weight
from charge_gpu
where usage_period = $period and use = 'used' and serving_pool is null and weight > 0
