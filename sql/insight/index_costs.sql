-- The total cost of each vector index in a month, by what it was for and by the team that carries it, in the company's currency.
-- Embeddings are calls of models: an index has the part of what a team is charged for them that its calls have of their metered cost.
-- No log tells an embedding from one made again; `embeddings` in budgets.yaml says what the calls of each say of themselves.
-- grain: period, vector_index_id, team_id, component, service
--   component: embedding (calls of models that are declared to embed new documents), re_embedding (declared to embed them again), embedding_not_known
--     (nobody says which), writing, storage, queries, maintenance (backups and upkeep of the index's own vendor), clean_up (compute beside it)
--   service: the vendor's product; of embeddings the model
--   cost: what the team is charged
--   metered_cost: embeddings only: what the calls should have cost at our prices
--   tokens: tokens embedded
--   calls: calls that embedded
with placed as (
    select p.period, c.*
    from cost_daily c
    join periods p on c.usage_date >= p.starts_on and c.usage_date < p.ends_on
    where c.usage_date <= $through
),
-- The vendor of an index is whoever bills its searches, writes or backups by their own units; compute beside it is counted in time.
billed as (
    select
        period, vector_index_id, team_id, service, currency, cost,
        case activity when 'query' then 'queries' when 'embedding' then 'writing' when 'storage' then 'storage'
            when 'index_maintenance' then case when bare(consumed_unit) in ('hours', 'hour', 'hrs', 'dpuhours', 'dpuhour', 'vcpuhours', 'seconds', 'gpuhours')
                then 'clean_up' else 'maintenance' end
            else activity end as component
    from placed
    where vector_index_id is not null
),
embeddings as (
    select
        p.period, u.usage_date, u.vector_index_id, u.team_id, u.project_id, u.application, u.model, u.request_type, u.environment,
        sum(u.contracted_cost) as metered_cost, sum(u.requests) as calls,
        sum(u.input_uncached_tokens + u.cache_read_tokens) as tokens
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.operation = 'embedding' and u.usage_date <= $through
    group by all
),
-- The first of the declared jobs that is true of what a call says of itself.
told as (
    select k.*, min_by(j.documents, j.ord) as documents
    from (select distinct usage_date, request_type, project_id, application, environment from embeddings) k
    join policy_embeddings j on coalesce(j.request_type = k.request_type, j.request_type is null)
        and coalesce(j.project_id = k.project_id, j.project_id is null)
        and coalesce(j.application = k.application, j.application is null)
        and coalesce(j.environment = k.environment, j.environment is null)
        and k.usage_date >= j.valid_from and k.usage_date < j.valid_to
    group by all
),
calls as (
    select
        e.period, e.vector_index_id, e.team_id, e.project_id, e.application, e.model,
        case t.documents when 'new' then 'embedding' when 'again' then 're_embedding' else 'embedding_not_known' end as component,
        sum(e.metered_cost) as metered_cost, sum(e.calls) as calls, sum(e.tokens) as tokens
    from embeddings e
    left join told t on t.usage_date = e.usage_date and t.request_type is not distinct from e.request_type
        and t.project_id is not distinct from e.project_id and t.application is not distinct from e.application
        and t.environment is not distinct from e.environment
    group by all
),
embedded as (
    select period, team_id, project_id, application, model, currency, sum(cost) as cost
    from placed
    where activity = 'embedding' and vector_index_id is null
    group by all
),
weighed as (
    select
        c.*, e.currency, e.cost,
        sum(pico(c.metered_cost)) over (pot order by c.vector_index_id nulls first, c.component rows unbounded preceding)::hugeint as high,
        sum(pico(c.metered_cost)) over pot::hugeint as whole
    from calls c
    left join embedded e on e.period = c.period and e.team_id = c.team_id and e.project_id is not distinct from c.project_id
        and e.application is not distinct from c.application and e.model is not distinct from c.model
    window pot as (partition by c.period, c.team_id, c.project_id, c.application, c.model)
),
shared as (
    select
        period, vector_index_id, team_id, model as service, currency, component,
        case when whole > 0 then money(cut(pico(cost), (high - pico(metered_cost)) // 1000, high // 1000, whole // 1000)) end as cost,
        metered_cost, tokens, calls
    from weighed
    where vector_index_id is not null
),
either as (
    select * from billed
    union all by name
    select * from shared
)
select
    b.period, b.vector_index_id, b.team_id, b.component, b.service, coalesce(b.currency, o.currency) as currency,
    sum(b.cost)::decimal(38, 12) as cost, sum(b.metered_cost)::decimal(38, 12) as metered_cost, sum(b.tokens)::bigint as tokens, sum(b.calls)::bigint as calls
from either b
cross join policy_company o
group by all
