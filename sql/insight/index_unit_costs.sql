-- What each vector index costs in a month in all, for each search and for each vector that it holds. NULL is n/a.
-- grain: period, vector_index_id
--   name: name of the index
--   cost: total cost of the index, in the company's currency
--   embedding_cost: calls of models that embedded, for the first time or again
--   writing_cost: writes
--   storage_cost: storage, of documents too
--   query_cost: searches
--   maintenance_cost: backups and upkeep
--   clean_up_cost: compute that prepares or cleans documents
--   teams: teams that carry a part of it
--   queries: searches that gateways logged
--   tokens: tokens embedded
--   vectors: vectors in the index, of the driver index_vectors on the last day of the month that we have; NULL where nobody counted them
--   cost_per_query: total cost for each search
--   query_cost_per_query: cost of searching alone for each search
--   cost_per_thousand_vectors: total cost for a thousand vectors
with costs as (
    select
        period, vector_index_id, min(currency) as currency, sum(cost) as cost, count(distinct team_id) as teams, sum(tokens) as tokens,
        sum(cost) filter (component = 'embedding') as embedding_cost, sum(cost) filter (component = 'writing') as writing_cost,
        sum(cost) filter (component = 'storage') as storage_cost, sum(cost) filter (component = 'queries') as query_cost,
        sum(cost) filter (component = 'maintenance') as maintenance_cost, sum(cost) filter (component = 'clean_up') as clean_up_cost
    from index_costs
    group by all
),
searched as (
    select p.period, u.vector_index_id, sum(u.queries) as queries
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.vector_index_id is not null and u.usage_date <= $through
    group by all
),
counted as (
    select usage_period as period, json_extract_string(keys, '$.vector_index_id') as vector_index_id, usage_date, sum(weight) as vectors
    from drivers
    where driver = 'index_vectors' and (usage_date is null or usage_date <= $through)
    group by all
),
vectors as (
    select period, vector_index_id, arg_max(vectors, coalesce(usage_date, date '0001-01-01')) as vectors
    from counted
    group by all
),
names as (
    select vector_index_id, any_value(name) as name from policy_vector_indexes group by all
)
select
    c.period, c.vector_index_id, coalesce(n.name, c.vector_index_id) as name, c.currency,
    coalesce(c.cost, 0)::decimal(38, 12) as cost,
    coalesce(c.embedding_cost, 0)::decimal(38, 12) as embedding_cost, coalesce(c.writing_cost, 0)::decimal(38, 12) as writing_cost,
    coalesce(c.storage_cost, 0)::decimal(38, 12) as storage_cost, coalesce(c.query_cost, 0)::decimal(38, 12) as query_cost,
    coalesce(c.maintenance_cost, 0)::decimal(38, 12) as maintenance_cost, coalesce(c.clean_up_cost, 0)::decimal(38, 12) as clean_up_cost,
    c.teams, coalesce(s.queries, 0)::bigint as queries, coalesce(c.tokens, 0)::bigint as tokens, v.vectors::decimal(38, 12) as vectors,
    for_each(c.cost, s.queries) as cost_per_query,
    for_each(c.query_cost, s.queries) as query_cost_per_query,
    for_each(c.cost * 1000, v.vectors) as cost_per_thousand_vectors
from costs c
left join searched s on s.period = c.period and s.vector_index_id = c.vector_index_id
left join vectors v on v.period = c.period and v.vector_index_id = c.vector_index_id
left join names n on n.vector_index_id = c.vector_index_id
