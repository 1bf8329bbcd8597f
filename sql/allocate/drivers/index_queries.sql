-- Searches of each vector index.
-- called: searches
-- unit: Queries
select usage_date, vector_index_id, team_id as target, project_id, application, environment, sum(queries)::hugeint as weight
from usage_daily
where vector_index_id is not null and operation = 'vector_query' and queries > 0
    and usage_date >= $period_start and usage_date < $period_end
group by all
