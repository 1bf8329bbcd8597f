-- What each vector index costs in a month in all, for each search, for each vector that it holds and for each document in it. NULL is n/a.
-- grain: period, vector_index_id
--   name: name of the index
--   cost: total cost of the index, in the company's currency
--   embedding_cost: calls of models that embedded, for the first time or again
--   new_embedding_cost: the part of it that is declared to embed new documents; NULL where of none of it is known which
--   re_embedding_cost: the part of it that is declared to embed documents again; NULL where of none of it is known which
--   unknown_embedding_cost: the part of it of which nobody says which
--   writing_cost: writes
--   storage_cost: storage, of documents too
--   query_cost: searches
--   maintenance_cost: backups and upkeep
--   clean_up_cost: compute that prepares or cleans documents
--   teams: teams that carry a part of it
--   queries: searches that gateways logged
--   tokens: tokens embedded
--   vectors: vectors in the index, of the driver index_vectors on the last day of the month that we have; NULL where nobody counted them
--   vectors_added: vectors more than in the month before, where both months have counts with a date: where tokens were embedded and few came,
--     documents were embedded again
--   documents: documents in it, of the driver index_documents on the last day of the month that we have; NULL where nobody counted them
--   cost_per_query: total cost for each search
--   query_cost_per_query: cost of searching alone for each search
--   cost_per_thousand_vectors: total cost for a thousand vectors
--   cost_per_document: total cost for each document
with costs as (
    select
        period, vector_index_id, min(currency) as currency, sum(cost) as cost, count(distinct team_id) as teams, sum(tokens) as tokens,
        sum(cost) filter (component in ('embedding', 're_embedding', 'embedding_not_known')) as embedding_cost,
        sum(cost) filter (component = 'embedding') as new_embedding_cost,
        sum(cost) filter (component = 're_embedding') as re_embedding_cost,
        sum(cost) filter (component = 'embedding_not_known') as unknown_embedding_cost,
        bool_or(component in ('embedding', 're_embedding')) or not bool_or(component = 'embedding_not_known') as is_told,
        sum(cost) filter (component = 'writing') as writing_cost,
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
    select usage_period as period, driver, json_extract_string(keys, '$.vector_index_id') as vector_index_id, usage_date, sum(weight) as counted
    from drivers
    where driver in ('index_vectors', 'index_documents') and (usage_date is null or usage_date <= $through)
    group by all
),
held as (
    select
        period, vector_index_id,
        arg_max(counted, coalesce(usage_date, date '0001-01-01')) filter (driver = 'index_vectors') as vectors,
        arg_max(counted, coalesce(usage_date, date '0001-01-01')) filter (driver = 'index_documents') as documents,
        arg_max(counted, usage_date) filter (driver = 'index_vectors' and usage_date is not null) as dated_vectors
    from counted
    group by all
),
names as (
    select vector_index_id, any_value(name) as name from policy_vector_indexes group by all
)
select
    c.period, c.vector_index_id, coalesce(n.name, c.vector_index_id) as name, c.currency,
    coalesce(c.cost, 0)::decimal(38, 12) as cost,
    coalesce(c.embedding_cost, 0)::decimal(38, 12) as embedding_cost,
    case when c.is_told then coalesce(c.new_embedding_cost, 0) end::decimal(38, 12) as new_embedding_cost,
    case when c.is_told then coalesce(c.re_embedding_cost, 0) end::decimal(38, 12) as re_embedding_cost,
    coalesce(c.unknown_embedding_cost, 0)::decimal(38, 12) as unknown_embedding_cost,
    coalesce(c.writing_cost, 0)::decimal(38, 12) as writing_cost,
    coalesce(c.storage_cost, 0)::decimal(38, 12) as storage_cost, coalesce(c.query_cost, 0)::decimal(38, 12) as query_cost,
    coalesce(c.maintenance_cost, 0)::decimal(38, 12) as maintenance_cost, coalesce(c.clean_up_cost, 0)::decimal(38, 12) as clean_up_cost,
    c.teams, coalesce(s.queries, 0)::bigint as queries, coalesce(c.tokens, 0)::bigint as tokens, v.vectors::decimal(38, 12) as vectors,
    (v.dated_vectors - b.dated_vectors)::decimal(38, 12) as vectors_added, v.documents::decimal(38, 12) as documents,
    for_each(c.cost, s.queries) as cost_per_query,
    for_each(c.query_cost, s.queries) as query_cost_per_query,
    for_each(c.cost * 1000, v.vectors) as cost_per_thousand_vectors,
    for_each(c.cost, v.documents) as cost_per_document
from costs c
join periods p on p.period = c.period
left join periods l on l.ends_on = p.starts_on
left join searched s on s.period = c.period and s.vector_index_id = c.vector_index_id
left join held v on v.period = c.period and v.vector_index_id = c.vector_index_id
left join held b on b.period = l.period and b.vector_index_id = c.vector_index_id
left join names n on n.vector_index_id = c.vector_index_id
