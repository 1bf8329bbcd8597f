-- How long GPU jobs waited from when they could run to their start: exact percentiles of the jobs that started on a day, and in a month, by team and
-- cluster. Percentiles of days or teams are never averaged; jobs that still wait have not started, and a job of which no source says it counts apart.
-- grain: period, usage_date, cluster, team_id
--   usage_date: the day on which the jobs started; NULL for the whole month
--   cluster: the cluster; `*` for all of them
--   team_id: the team; `*` for all of them
--   jobs: jobs that started, and of which it is known how long they waited
--   unknown_jobs: jobs of which it is not known
--   queue_minutes: minutes that the jobs waited in all
--   mean_queue_minutes: queue_minutes for each job; NULL where none is known
--   p50_queue_minutes: half of the jobs waited no longer
--   p95_queue_minutes: 95 of 100 waited no longer
--   max_queue_minutes: the longest
with started as (
    select
        source, event_id, any_value(cluster) as cluster, min_by(team_id, usage_date) as team_id, max(queue_seconds) as waited,
        coalesce(min(usage_date) filter (queue_seconds is not null), min(usage_date)) as usage_date
    from gpu_usage
    where usage_date <= $through
    group by all
    having bool_or(holder_kind = 'job') or waited is not null
),
placed as (
    select p.period, s.*
    from started s
    join periods p on s.usage_date >= p.starts_on and s.usage_date < p.ends_on
),
counted as (
    select
        period, usage_date, coalesce(cluster, '*') as cluster, coalesce(team_id, '*') as team_id,
        count(waited) as jobs, count(*) - count(waited) as unknown_jobs, sum(waited) as waited,
        quantile_disc(waited, [0.5, 0.95]) as waits, max(waited) as longest
    from placed
    group by grouping sets (
        (period, usage_date, cluster, team_id), (period, usage_date, cluster), (period, usage_date, team_id), (period, usage_date),
        (period, cluster, team_id), (period, cluster), (period, team_id), (period))
)
select
    period, usage_date, cluster, team_id, jobs, unknown_jobs,
    for_each(waited, 60)::decimal(38, 2) as queue_minutes, for_each(waited, nullif(jobs, 0) * 60)::decimal(38, 2) as mean_queue_minutes,
    for_each(waits[1], 60)::decimal(38, 2) as p50_queue_minutes, for_each(waits[2], 60)::decimal(38, 2) as p95_queue_minutes,
    for_each(longest, 60)::decimal(38, 2) as max_queue_minutes
from counted
