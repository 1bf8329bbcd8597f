-- Who held which GPU on which day: jobs, pods and our own model servers; and cards that stood free, where the source says so.
-- grain: source, event_id, usage_date
--   gpu_seconds: whole-card seconds held on that day; a slice counts as its share of the card
--   team_id: whose job or pod it was; unallocated where nobody knows, for our own model servers (shared by tokens) and for free cards
--   queue_seconds: on the day on which it started, how long it had waited for that; NULL on others, and where the source does not say
--   active_seconds: of gpu_seconds, those in which the card worked; NULL where nobody measured
select
    source, event_id, usage_date, cluster, node, gpu_uuid, gpu_model, slice_num, slice_den, holder_kind, holder_id, account, namespace,
    capacity_type, serving_pool, team_id, project_id, state, gpus,
    (sum(held_us)::decimal(38, 0) * 0.000001::decimal(6, 6))::decimal(38, 6) as gpu_seconds,
    (sum(active_us)::decimal(38, 0) * 0.000001::decimal(6, 6))::decimal(38, 6) as active_seconds,
    max(queue_seconds) as queue_seconds,
    source_file, source_row
from gpu_hours
where usage_period = $period
group by all
