-- Writes into each vector index, by the team whose documents they were.
-- called: writes
-- unit: Requests
select usage_date, vector_index_id, team_id as target, project_id, application, environment, sum(requests)::hugeint as weight
from usage_daily
where vector_index_id is not null and operation = 'index_write' and requests > 0
    and usage_date >= $period_start and usage_date < $period_end
group by all
