-- Gateway events of some days: each once, with the team that called and the team that pays.
-- grain: source, event_id
with shared_keys as (
    select distinct value as api_key_id from policy_belongs where kind = 'api_key' and conditions > 0
),
-- What a call under a key that teams share says of itself; nothing for other keys, so that few names stay distinct.
kept as not materialized (
    select
        l.*,
        case when s.api_key_id is not null then coalesce(l.application, p.application) end as said_application,
        case when s.api_key_id is not null then l.environment end as said_environment,
        case when s.api_key_id is not null then l.customer_id end as said_customer
    from landed_events l
    anti join event_losers x on x.delivery_id = l.delivery_id and x.source_file = l.source_file and x.source_row = l.source_row
        and x.event_id = l.event_id
    left join shared_keys s on s.api_key_id = l.api_key_id
    left join policy_projects p on p.project_id = l.project
),
-- Vendors by the names that gateways use for them.
provider_names(logged, provider) as (
    values
        ('vertex_ai', 'google'), ('vertex_ai_beta', 'google'), ('gemini', 'google'), ('gcp.vertex_ai', 'google'),
        ('gcp.gemini', 'google'), ('bedrock', 'aws'), ('bedrock_converse', 'aws'), ('aws.bedrock', 'aws'), ('amazon_bedrock', 'aws'),
        ('azure_ai', 'azure'), ('azure.ai.openai', 'azure'), ('text-completion-openai', 'openai'), ('cohere_chat', 'cohere')
),
-- One row per distinct name and day, so that ownership is looked up once and never multiplies events. The caller's team is
-- the first that owns: key, inference profile, team named on the call, principal, project, the vendor's account.
callers as (
    select distinct
        source, usage_date, api_key_id, gateway_team, principal, inference_profile, sub_account_id, project, triggered_by, vector_index_id,
        said_application, said_environment, said_customer
    from kept
),
-- The claim with the most conditions; the policy has one.
key_owners as (
    select c.*, max_by({'team_id': k.team_id, 'project_id': k.project_id}, k.conditions) as owner
    from (select distinct usage_date, api_key_id, project, said_application, said_environment, said_customer from callers) c
    join policy_belongs k on k.kind = 'api_key' and k.value = c.api_key_id
        and c.usage_date >= k.valid_from and c.usage_date < k.valid_to
    where coalesce(k.when_project = c.project, k.when_project is null)
        and coalesce(k.when_application = c.said_application, k.when_application is null)
        and coalesce(k.when_environment = c.said_environment, k.when_environment is null)
        and coalesce(k.when_customer = c.said_customer, k.when_customer is null)
    group by all
),
-- A principal is named by a pattern with * and ?: the longest that matches its ARN on the day.
patterns as (
    select
        k.*, replace(replace(replace(replace(replace(k.value, '!', '!!'), '%', '!%'), '_', '!_'), '*', '%'), '?', '_') as pattern
    from policy_belongs k
    where k.kind = 'principal'
),
principals as (
    select c.principal, c.usage_date, k.team_id, k.project_id
    from (select distinct principal, usage_date from callers) c
    join patterns k on c.principal like k.pattern escape '!'
        and c.usage_date >= k.valid_from and c.usage_date < k.valid_to
    qualify row_number() over (partition by c.principal, c.usage_date order by length(k.value) desc, k.value) = 1
),
owners as (
    select
        c.*,
        k.owner.team_id as key_team,
        k.owner.project_id as key_project,
        f.team_id as profile_team,
        g.team_id as named_team,
        n.team_id as principal_team,
        a.team_id as account_team,
        case
            when f.team_id is not null then f.project_id
            when g.team_id is not null then g.project_id
            when n.team_id is not null then n.project_id
            else a.project_id end as named_project,
        w.team_id as own_project_team,
        w.project_id as own_project,
        p.team_id as project_team,
        p.application as project_application,
        coalesce(t.team_id, tt.team_id) as trigger_team,
        i.team_id as index_team
    from callers c
    left join key_owners k on k.usage_date = c.usage_date and k.api_key_id = c.api_key_id
        and k.project is not distinct from c.project
        and k.said_application is not distinct from c.said_application
        and k.said_environment is not distinct from c.said_environment
        and k.said_customer is not distinct from c.said_customer
    left join policy_belongs g on g.kind = 'gateway_team' and g.value = c.gateway_team
        and c.usage_date >= g.valid_from and c.usage_date < g.valid_to
    left join policy_belongs f on f.kind = 'inference_profile' and f.value = c.inference_profile
        and c.usage_date >= f.valid_from and c.usage_date < f.valid_to
    left join principals n on n.principal = c.principal and n.usage_date = c.usage_date
    left join policy_belongs a on a.kind = 'provider_project' and a.value = c.sub_account_id
        and c.usage_date >= a.valid_from and c.usage_date < a.valid_to
    left join policy_belongs w on w.kind = 'gateway_project' and w.value = c.project
        and c.usage_date >= w.valid_from and c.usage_date < w.valid_to
    left join policy_projects p on p.project_id = coalesce(w.project_id, c.project)
    left join policy_belongs t on t.kind = 'gateway_team' and t.value = c.triggered_by
        and c.usage_date >= t.valid_from and c.usage_date < t.valid_to
    left join policy_teams tt on tt.team_id = c.triggered_by
    left join policy_vector_indexes i on i.vector_index_id = c.vector_index_id
        and c.usage_date >= i.valid_from and c.usage_date < i.valid_to
),
resolved as (
    select
        e.*,
        coalesce(s.serving_pool, null) as serving_pool,
        coalesce(n.provider, lower(e.provider)) as provider_id,
        coalesce(
            o.key_team, o.profile_team, o.named_team, o.principal_team, o.own_project_team, o.project_team, o.account_team,
            'unallocated'
        ) as caller_team_id,
        case when e.operation in ('embedding', 'index_write') then coalesce(o.trigger_team, o.index_team) end as triggering_team,
        case when e.operation in ('embedding', 'index_write') and o.trigger_team is null then e.triggered_by end as unknown_trigger,
        coalesce(o.key_project, o.own_project, e.project, o.named_project) as project_id,
        coalesce(e.application, o.project_application) as application_id
    from kept e
    join owners o on o.source = e.source and o.usage_date = e.usage_date
        and o.api_key_id is not distinct from e.api_key_id
        and o.gateway_team is not distinct from e.gateway_team
        and o.principal is not distinct from e.principal
        and o.inference_profile is not distinct from e.inference_profile
        and o.sub_account_id is not distinct from e.sub_account_id
        and o.project is not distinct from e.project
        and o.triggered_by is not distinct from e.triggered_by
        and o.vector_index_id is not distinct from e.vector_index_id
        and o.said_application is not distinct from e.said_application
        and o.said_environment is not distinct from e.said_environment
        and o.said_customer is not distinct from e.said_customer
    left join provider_names n on n.logged = lower(e.provider)
    left join policy_gateway_serving s on s.source = e.source and s.provider = e.provider
)
select
    r.event_id,
    r.source,
    r.occurred_at,
    r.usage_date,
    r.usage_date as provider_day,
    r.caller_team_id,
    coalesce(r.triggering_team, r.caller_team_id) as team_id,
    r.project_id,
    r.application_id as application,
    r.environment,
    r.customer_id,
    r.user_tier,
    r.request_type,
    r.api_key_id,
    r.principal,
    r.inference_profile,
    r.sub_account_id,
    case when r.serving_pool is null then r.provider_id else 'self-hosted' end as provider,
    a.billing_account_id,
    coalesce(m.model, lower(r.model_as_logged)) as model,
    r.model_as_logged,
    m.price_provider,
    m.price_model,
    r.region,
    coalesce(lower(r.service_tier), 'standard') as service_tier,
    r.operation,
    r.vector_index_id,
    r.serving_pool,
    r.trace_id,
    r.session_id,
    r.attempt,
    r.status,
    r.gateway_cache,
    r.routing_reason,
    r.quality_score,
    r.system_prompt_tokens,
    r.latency_ms,
    r.input_uncached_tokens,
    r.cache_read_tokens,
    r.cache_write_5m_tokens,
    r.cache_write_1h_tokens,
    r.output_tokens,
    r.reasoning_tokens,
    r.audio_input_tokens,
    r.audio_output_tokens,
    r.avoided_input_tokens,
    r.avoided_output_tokens,
    r.images,
    r.search_units,
    r.queries,
    r.requests,
    r.source_cost,
    r.unknown_trigger,
    r.source_file,
    r.source_row
from resolved r
left join policy_gateway_accounts a on a.source = r.source and a.provider = r.provider_id
left join model_names m on m.usage_period = $period and m.provider is not distinct from r.provider
    and m.model_as_logged is not distinct from r.model_as_logged
