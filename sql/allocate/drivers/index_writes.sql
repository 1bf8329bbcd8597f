-- Writes into each vector index, by the team whose documents they were: in units where the log of the index counts any,
-- else in requests.
-- called: writes
-- unit: Write Units
with written as (
    select
        usage_date, vector_index_id, team_id as target, project_id, application, environment,
        coalesce(sum(search_units), 0)::hugeint as units, coalesce(sum(requests), 0)::hugeint as requests
    from usage_daily
    where vector_index_id is not null and operation = 'index_write'
        and usage_date >= $period_start and usage_date < $period_end
    group by all
)
select
    usage_date, vector_index_id, target, project_id, application, environment,
    case when sum(units) over (partition by vector_index_id) > 0 then units else requests end as weight
from written
