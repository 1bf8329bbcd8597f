-- Who keeps each vector index on each day, by the dated owners of teams.yaml.
-- called: who keeps the index
-- unit: Days
select d::date as usage_date, i.vector_index_id, i.team_id as target, 1 as weight
from policy_vector_indexes i, lateral (
    select unnest(generate_series(
        greatest(i.valid_from, $period_start::date)::timestamp,
        least(i.valid_to - 1, $period_end::date - 1)::timestamp, interval 1 day)) as d
)
where i.team_id is not null
