-- What each month's calls of models cost, and how well the money was used. Costs are what teams are charged for the usage of the month,
-- later corrections of it included, in the company's currency; what is called metered is what the calls should have cost at our prices,
-- because no bill says which calls failed, in the currency of prices. Choose one scope: rows of different scopes hold the same cost. Sums of numerators and
-- denominators give every other ratio; ratios themselves are never added or averaged. NULL is n/a, 0 a real zero.
-- grain: period, scope, team_id, project_id, application, model, activity
--   scope: company, team, application, model, project (of a team), or detail: all four keys at once; of the keys that a scope does not have, team_id is `*` and the others NULL
--   team_id: team that pays; `*` where the scope is about every team
--   activity: inference or embedding: embeddings have no output and are never mixed with the rest
--   currency: the company's currency
--   cost: charged for calls of models, failed and repeated ones included
--   token_cost: the part of it that is priced by the token, or shared by tokens on our own model servers
--   list_cost: what the vendors' public prices would be, where they are known
--   listed_cost: the part of cost that list_cost is about
--   metered_cost: what the calls should have cost at our prices; calls without a price are not in it
--   metered_output_cost: the part of it that is output and reasoning
--   failed_cost: the part of it that is failed attempts; what a vendor does not bill is 0
--   requests: attempts that reached a model, and calls answered by the gateway's cache
--   successes: those that succeeded; a request that was repeated has one
--   failures: those that failed
--   cache_hits: those answered by the gateway's cache
--   unpriced_events: calls without a price: their cost is unknown, not zero
--   input_tokens: all input, cached input included
--   cache_read_tokens: the part of it that the provider's prompt cache answered
--   output_tokens: output, reasoning included
--   priced_input_tokens: input tokens that metered_cost is about
--   priced_output_tokens: output tokens that metered_cost is about
--   success_tokens: input and output of attempts that succeeded
--   told_input_tokens: input tokens of calls that say how much of it was the system prompt
--   system_prompt_tokens: the part of told_input_tokens that was the system prompt
--   cost_per_million_tokens: token_cost for a million of input and output tokens
--   input_cost_per_million: metered cost of input for a million priced input tokens, cached ones included
--   output_cost_per_million: metered_output_cost for a million priced output tokens
--   cost_per_request: cost for each request
--   cost_per_success: cost for each success
--   tokens_per_success: input and output tokens for each success, those of failed attempts included
--   token_multiplier: all tokens for each token of a success: 1 where nothing was repeated
--   waste_percent: failed_cost of metered_cost
--   output_per_input: output tokens for each input token; NULL for embeddings
--   token_cache_hit_percent: input that the provider's prompt cache answered
--   request_cache_hit_percent: requests that the gateway's own cache answered; another figure than the one before
--   system_prompt_percent: system_prompt_tokens of told_input_tokens; NULL where no call says it
--   savings_percent: effective savings rate: listed_cost below list_cost; negative where it is above
--   flag: cost_without_requests, all_failed, unpriced (nothing is charged and calls have no price: the zero is not known), or NULL
with pool_models as (
    select p.period, u.serving_pool, min(u.model) as model
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.serving_pool is not null and u.model is not null
    group by all
    having count(distinct u.model) = 1
),
counted as (
    select
        p.period, u.team_id, u.project_id, u.application, u.model,
        case when u.operation = 'embedding' then 'embedding' else 'inference' end as activity,
        u.status = 'success' as is_success,
        case when u.gateway_cache <> 'none' then u.events else u.requests end as calls,
        case when u.gateway_cache <> 'none' then u.events else 0 end as cache_hits,
        u.unpriced_events,
        u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens + u.audio_input_tokens as asked,
        u.cache_read_tokens,
        u.output_tokens + u.reasoning_tokens + u.audio_output_tokens as answered,
        u.contracted_cost,
        u.output_tokens::decimal(18, 0) * r.contracted_output::decimal(20, 18)
            + coalesce(u.reasoning_tokens::decimal(18, 0) * r.contracted_reasoning::decimal(20, 18), 0)
            + coalesce(u.audio_output_tokens::decimal(18, 0) * r.contracted_audio_output::decimal(20, 18), 0) as answered_cost
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    left join rates r on r.usage_period = p.period and r.rate_id = u.rate_id
    where u.operation not in ('vector_query', 'index_write', 'index_maintenance') and u.usage_date <= $through
),
calls as (
    select
        period, team_id, project_id, application, model, activity,
        calls as requests, cache_hits, unpriced_events, asked as input_tokens, cache_read_tokens, answered as output_tokens,
        case when is_success then calls end as successes,
        case when is_success then asked + answered end as success_tokens,
        case when contracted_cost is not null then asked end as priced_input_tokens,
        case when contracted_cost is not null then answered end as priced_output_tokens,
        contracted_cost as metered_cost,
        case when contracted_cost is not null then answered_cost end as metered_output_cost,
        case when not is_success then contracted_cost end as failed_cost
    from counted
),
prompted as (
    select
        p.period, s.team_id, s.project_id, s.application, s.model,
        case when s.operation = 'embedding' then 'embedding' else 'inference' end as activity,
        s.input_tokens as told_input_tokens, s.system_prompt_tokens
    from system_prompts_daily s
    join periods p on s.usage_date >= p.starts_on and s.usage_date < p.ends_on
    where s.usage_date <= $through
),
-- A correction counts in the month it corrects: that of its day.
costs as (
    select
        p.period, c.team_id, c.project_id, c.application,
        case when c.serving_pool is null then c.model when c.consumed_unit = 'Tokens' then c.model else m.model end as model,
        c.activity, c.cost,
        case when c.consumed_unit = 'Tokens' or c.serving_pool is not null then c.cost end as token_cost,
        c.list_cost, case when c.list_cost is not null then c.cost end as listed_cost
    from cost_daily c
    join periods p on c.usage_date >= p.starts_on and c.usage_date < p.ends_on
    left join pool_models m on m.period = p.period and m.serving_pool = c.serving_pool
    where c.activity in ('inference', 'embedding') and c.vector_index_id is null and c.usage_date <= $through
),
facts as (
    select * from calls
    union all by name
    select * from costs
    union all by name
    select * from prompted
),
sums as (
    select
        period,
        case grouping(team_id, project_id, application, model)
            when 15 then 'company' when 7 then 'team' when 13 then 'application' when 14 then 'model' when 1 then 'project' else 'detail' end as scope,
        team_id, project_id, application, model, activity,
        coalesce(sum(cost), 0)::decimal(38, 12) as cost,
        coalesce(sum(token_cost), 0)::decimal(38, 12) as token_cost,
        sum(list_cost)::decimal(38, 12) as list_cost,
        sum(listed_cost)::decimal(38, 12) as listed_cost,
        coalesce(sum(metered_cost), 0)::decimal(38, 12) as metered_cost,
        coalesce(sum(metered_output_cost), 0)::decimal(38, 12) as metered_output_cost,
        coalesce(sum(failed_cost), 0)::decimal(38, 12) as failed_cost,
        coalesce(sum(requests), 0)::bigint as requests,
        coalesce(sum(successes), 0)::bigint as successes,
        coalesce(sum(cache_hits), 0)::bigint as cache_hits,
        coalesce(sum(unpriced_events), 0)::bigint as unpriced_events,
        coalesce(sum(input_tokens), 0)::bigint as input_tokens,
        coalesce(sum(cache_read_tokens), 0)::bigint as cache_read_tokens,
        coalesce(sum(output_tokens), 0)::bigint as output_tokens,
        coalesce(sum(priced_input_tokens), 0)::bigint as priced_input_tokens,
        coalesce(sum(priced_output_tokens), 0)::bigint as priced_output_tokens,
        coalesce(sum(success_tokens), 0)::bigint as success_tokens,
        coalesce(sum(told_input_tokens), 0)::bigint as told_input_tokens,
        coalesce(sum(system_prompt_tokens), 0)::bigint as system_prompt_tokens
    from facts
    group by grouping sets (
        (period, activity), (period, activity, team_id), (period, activity, application), (period, activity, model),
        (period, activity, team_id, project_id, application), (period, activity, team_id, project_id, application, model))
)
select
    s.period, s.scope, coalesce(s.team_id, '*') as team_id, s.project_id, s.application, s.model, s.activity, b.currency,
    s.cost, s.token_cost, s.list_cost, s.listed_cost, s.metered_cost, s.metered_output_cost, s.failed_cost,
    s.requests, s.successes, (s.requests - s.successes)::bigint as failures, s.cache_hits, s.unpriced_events,
    s.input_tokens, s.cache_read_tokens, s.output_tokens, s.priced_input_tokens, s.priced_output_tokens, s.success_tokens,
    s.told_input_tokens, s.system_prompt_tokens,
    for_each(s.token_cost * 1000000, s.input_tokens + s.output_tokens) as cost_per_million_tokens,
    for_each((s.metered_cost - s.metered_output_cost) * 1000000, s.priced_input_tokens) as input_cost_per_million,
    for_each(s.metered_output_cost * 1000000, s.priced_output_tokens) as output_cost_per_million,
    for_each(s.cost, s.requests) as cost_per_request,
    for_each(s.cost, s.successes) as cost_per_success,
    for_each(s.input_tokens + s.output_tokens, s.successes) as tokens_per_success,
    for_each(s.input_tokens + s.output_tokens, s.success_tokens) as token_multiplier,
    percent_of(s.failed_cost, s.metered_cost) as waste_percent,
    case when s.activity = 'inference' then for_each(s.output_tokens, s.input_tokens) end as output_per_input,
    percent_of(s.cache_read_tokens, s.input_tokens) as token_cache_hit_percent,
    percent_of(s.cache_hits, s.requests) as request_cache_hit_percent,
    percent_of(s.system_prompt_tokens, s.told_input_tokens) as system_prompt_percent,
    percent_of(s.list_cost - s.listed_cost, s.list_cost) as savings_percent,
    case when s.requests = 0 and s.cost > 0 then 'cost_without_requests' when s.successes = 0 and s.cost > 0 then 'all_failed'
        when s.cost = 0 and s.unpriced_events > 0 then 'unpriced' end as flag
from sums s
cross join policy_company b
