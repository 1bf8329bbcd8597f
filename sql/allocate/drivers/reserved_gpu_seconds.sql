-- GPU-seconds that each team's jobs and pods held, used or not.
-- called: GPU-seconds reserved
-- unit: GPU-Seconds
select usage_date, cluster, team_id as target, project_id, sum(gpu_seconds)::decimal(38, 6) as weight
from gpu_usage
where usage_period = $period and serving_pool is null and holder_kind <> 'none'
group by all
