-- Days on which a team's jobs waited long for the GPUs of a cluster: so many jobs started, and 95 of 100 had waited up to so many minutes or more.
-- grain: cluster, team_id, raised_on
--   jobs: jobs that started on the day, of which it is known how long they had waited
--   expected: minutes from which on it is told
--   actual: minutes that 95 of 100 waited at most
--   longest: minutes that the longest waited
select
    q.cluster, q.team_id, q.usage_date as raised_on, q.jobs, r.minutes::decimal(18, 2) as expected,
    q.p95_queue_minutes::decimal(18, 2) as actual, q.max_queue_minutes::decimal(18, 2) as longest
from gpu_queue q
join policy_alert_rules r on r.kind = 'gpu_queue'
where q.usage_date > $through::date - 62 and q.cluster <> '*' and q.team_id <> '*' and q.jobs >= r.jobs and q.p95_queue_minutes >= r.minutes
