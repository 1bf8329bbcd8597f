-- What retrieval costs each team in a month in all: its part of every vector index, by what it was for, and for each search that it made and each
-- document of it. In the company's currency; NULL is n/a. Add up costs, searches and documents, never the costs for each.
-- grain: period, team_id
--   team_id: the team that carries the cost; `*` for all teams together
--   cost: its part of all indexes
--   new_embedding_cost: calls of models that are declared to embed new documents; NULL where of none of its embeddings is known which
--   re_embedding_cost: calls that are declared to embed documents again; NULL where of none of its embeddings is known which
--   unknown_embedding_cost: calls that embed for an index, and nobody says which
--   unplaced_embedding_cost: embeddings that name no index; no part of cost
--   writing_cost: writes
--   storage_cost: storage, of documents too
--   query_cost: searches
--   maintenance_cost: backups and upkeep
--   clean_up_cost: compute that prepares or cleans documents
--   indexes: vector indexes that it carries a part of
--   queries: searches that it made, as gateways logged them
--   documents: outcomes `documents` of the month; where none were landed, documents of the driver index_documents on the last day that we have; NULL
--     where nobody counted them
--   cost_per_query: cost for each search
--   cost_per_document: cost for each document
with parts as (
    select period, team_id, vector_index_id, component, cost from index_costs
    union all
    select period, '*' as team_id, vector_index_id, component, cost from index_costs
),
costs as (
    select
        period, team_id, count(distinct vector_index_id) as indexes, coalesce(sum(cost), 0) as cost,
        coalesce(sum(cost) filter (component = 'embedding'), 0) as new_embedding_cost,
        coalesce(sum(cost) filter (component = 're_embedding'), 0) as re_embedding_cost,
        coalesce(sum(cost) filter (component = 'embedding_not_known'), 0) as unknown_embedding_cost,
        coalesce(bool_or(component in ('embedding', 're_embedding')) or not bool_or(component = 'embedding_not_known'), true) as is_told,
        coalesce(sum(cost) filter (component = 'writing'), 0) as writing_cost, coalesce(sum(cost) filter (component = 'storage'), 0) as storage_cost,
        coalesce(sum(cost) filter (component = 'queries'), 0) as query_cost,
        coalesce(sum(cost) filter (component = 'maintenance'), 0) as maintenance_cost,
        coalesce(sum(cost) filter (component = 'clean_up'), 0) as clean_up_cost
    from parts
    group by all
),
-- What is charged for embeddings by tokens, of which the indexes above have their parts.
charged as (
    select p.period, unnest([c.team_id, '*']) as team_id, c.cost
    from cost_daily c
    join periods p on c.usage_date >= p.starts_on and c.usage_date < p.ends_on
    where c.activity = 'embedding' and c.vector_index_id is null and c.usage_date <= $through
),
embedded as (
    select period, team_id, sum(cost) as cost from charged group by all
),
searched as (
    select p.period, unnest([u.team_id, '*']) as team_id, u.queries
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.vector_index_id is not null and u.usage_date <= $through
),
searches as (
    select period, team_id, sum(queries) as queries from searched group by all
),
told as (
    select period, team_id, sum(quantity) as documents from outcomes where metric = 'documents' and team_id <> '*' group by all
    union all
    select period, '*' as team_id, sum(quantity) as documents from outcomes where metric = 'documents' group by all
),
newest as (
    select usage_period as period, unnest([target, '*']) as team_id, weight
    from drivers
    where driver = 'index_documents' and (usage_date is null or usage_date <= $through)
    qualify dense_rank() over (
        partition by usage_period, json_extract_string(keys, '$.vector_index_id') order by coalesce(usage_date, date '0001-01-01') desc) = 1
),
counted as (
    select period, team_id, sum(weight) as documents from newest group by all
),
keys as (
    select period, team_id from costs
    union
    select period, team_id from embedded
    union
    select period, team_id from searches where queries > 0
),
joined as (
    select
        k.period, k.team_id, coalesce(c.indexes, 0) as indexes, coalesce(c.cost, 0) as cost, coalesce(c.is_told, true) as is_told,
        coalesce(c.new_embedding_cost, 0) as new_embedding_cost, coalesce(c.re_embedding_cost, 0) as re_embedding_cost,
        coalesce(c.unknown_embedding_cost, 0) as unknown_embedding_cost,
        coalesce(e.cost, 0) - coalesce(c.new_embedding_cost + c.re_embedding_cost + c.unknown_embedding_cost, 0) as unplaced_embedding_cost,
        coalesce(c.writing_cost, 0) as writing_cost, coalesce(c.storage_cost, 0) as storage_cost, coalesce(c.query_cost, 0) as query_cost,
        coalesce(c.maintenance_cost, 0) as maintenance_cost, coalesce(c.clean_up_cost, 0) as clean_up_cost,
        coalesce(s.queries, 0) as queries, coalesce(t.documents, n.documents) as documents
    from keys k
    left join costs c on c.period = k.period and c.team_id = k.team_id
    left join embedded e on e.period = k.period and e.team_id = k.team_id
    left join searches s on s.period = k.period and s.team_id = k.team_id
    left join told t on t.period = k.period and t.team_id = k.team_id
    left join counted n on n.period = k.period and n.team_id = k.team_id
)
select
    j.period, j.team_id, o.currency, j.cost::decimal(38, 12) as cost,
    case when j.is_told then j.new_embedding_cost end::decimal(38, 12) as new_embedding_cost,
    case when j.is_told then j.re_embedding_cost end::decimal(38, 12) as re_embedding_cost,
    j.unknown_embedding_cost::decimal(38, 12) as unknown_embedding_cost, j.unplaced_embedding_cost::decimal(38, 12) as unplaced_embedding_cost,
    j.writing_cost::decimal(38, 12) as writing_cost, j.storage_cost::decimal(38, 12) as storage_cost, j.query_cost::decimal(38, 12) as query_cost,
    j.maintenance_cost::decimal(38, 12) as maintenance_cost, j.clean_up_cost::decimal(38, 12) as clean_up_cost,
    j.indexes::bigint as indexes, j.queries::bigint as queries, j.documents::decimal(38, 12) as documents,
    for_each(j.cost, j.queries) as cost_per_query, for_each(j.cost, j.documents) as cost_per_document
from joined j
cross join policy_company o
