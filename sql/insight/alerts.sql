-- What was out of the ordinary in the last 62 days, once each: what it was, what was usual, what it cost, whose it is and what was said about it.
-- An alert says what was known on its day; later days leave it as it is. Data that a later file restates can move it or take it back.
-- grain: alert_id
--   alert_id: the same whenever and wherever it is computed, so that a receiver knows it again
--   kind: hourly_spend, feature_growth, large_request, call_loop, failed_calls, cache_drop, gpu_idle, gpu_queue, source_silent, unpriced, unmapped, unallocated,
--     daily_anomaly or budget
--   severity: of the action: critical for page, warning for mail and chat, info for note
--   team_id: whom it concerns; the platform team for models, sources and clusters, which are everybody's
--   source: gateway or other source of it, where it is about one
--   subject: what else it is about: the budget, cluster, trace or reason
--   raised_on: the day whose data raise it
--   window_start: what it looks at, from (UTC)
--   window_end: what it looks at, up to (UTC)
--   unit: of expected and actual: the currency, tokens, calls, percent, minutes or days
--   expected: what was usual, or the limit; NULL where there is nothing usual
--   actual: what it was
--   cost_impact: actual less expected in money, or what it cost in all; NULL where that is not known
--   evidence: one sentence with the numbers
--   also: what else saw the same and is not told on its own; NULL for nothing
--   owner: who answers for it: the budget's owner, else the team's, else the platform team's
--   owner_mail: the first address among these; NULL without one
--   state: open, explained or closed
--   note: what was said about it, or why it closed itself
--   noted_by: who said it; NULL where it closed itself
--   action: what it asks for: note, mail, chat or page
with home as (
    select c.currency, c.platform_team, t.owner as platform_owner from policy_company c left join policy_teams t on t.team_id = c.platform_team
),
parts as (
    select team_id, usage_date, string_agg(scope || ' ' || scope_id, ', ' order by abs(cost_impact) desc, scope_id) as also
    from (select part_of as team_id, scope, scope_id, usage_date, cost_impact from anomalies where part_of is not null)
    group by all
),
told as (
    select distinct owner_team as team_id, usage_date from anomalies where direction = 'rise' and part_of is null and owner_team is not null
),
signals as (
    select
        'hourly_spend' as kind, [h.team_id, h.raised_on::varchar] as key, h.team_id, h.raised_on, h.window_start, h.window_end,
        o.currency as unit, h.expected, h.actual, h.actual - h.expected as cost_impact,
        h.team_id || ' spent ' || cents_with_commas(h.actual) || ' ' || o.currency || ' in ' || if(h.hours = 1, 'an hour', h.hours || ' hours') || ' from ' || strftime(h.window_start, '%H:%M')
            || ' to ' || strftime(h.window_end, '%H:%M') || ' UTC, usually ' || cents_with_commas(h.expected) as evidence
    from alert_hourly_spend h
    cross join home o
    anti join told t on t.team_id = h.team_id and t.usage_date = h.raised_on
    union all by name
    select
        'daily_anomaly' as kind, [a.scope, a.scope_id, a.owner_team, a.direction, a.usage_date::varchar] as key, a.owner_team as team_id,
        case a.scope when 'project' then a.scope_id end as project_id, case a.scope when 'model' then a.scope_id end as model,
        a.usage_date as raised_on, a.usage_date::timestamp as window_start, (a.usage_date + 1)::timestamp as window_end,
        o.currency as unit, a.expected, a.cost as actual, a.cost_impact,
        a.scope || ' ' || a.scope_id || ' cost ' || cents_with_commas(a.cost) || ' ' || o.currency || ' on ' || a.usage_date || ', usually '
            || cents_with_commas(a.expected) || ': ' || cents_with_commas(abs(a.cost_impact)) || if(a.direction = 'rise', ' more', ' less')
            || coalesce(', ' || abs(a.score) || ' times the usual spread', '') as evidence,
        concat_ws(', ',
            case when a.scope = 'team' then p.also end,
            case when h.team_id is not null and a.direction = 'rise' then if(h.hours = 1, 'an hour', h.hours || ' hours') || ' from ' || strftime(h.window_start, '%H:%M') || ' UTC' end) as also
    from anomalies a
    cross join home o
    left join parts p on a.scope = 'team' and p.team_id = a.owner_team and p.usage_date = a.usage_date
    left join alert_hourly_spend h on h.team_id = a.owner_team and h.raised_on = a.usage_date
    where a.part_of is null
    union all by name
    select
        'feature_growth' as kind, [g.team_id, g.application, g.raised_on::varchar] as key, g.team_id, g.application, g.raised_on, g.window_start, g.window_end,
        o.currency as unit, g.expected, g.actual, g.actual - g.expected as cost_impact,
        'application ' || g.application || ' cost ' || cents_with_commas(g.actual) || ' ' || o.currency || ' in seven days, ' || cents_with_commas(g.expected)
            || ' in the seven before: ' || percent_of(g.actual - g.expected, g.expected) || ' percent more' as evidence
    from alert_feature_growth g
    cross join home o
    union all by name
    select
        'large_request' as kind, [l.team_id, l.project_id, l.model, l.source, l.usage_date::varchar] as key, l.team_id, l.project_id, l.application, l.model,
        l.source, l.largest_event_id as subject, l.usage_date as raised_on, l.largest_at as window_start, l.largest_at as window_end,
        'tokens' as unit, r.tokens::decimal(38, 12) as expected, l.most_tokens::decimal(38, 12) as actual, l.contracted_cost as cost_impact,
        if(l.requests = 1, 'one request', with_commas(l.requests) || ' requests') || ' of ' || coalesce(l.project_id, l.team_id) || coalesce(' to ' || l.model, '')
            || ' above ' || with_commas(r.tokens) || ' tokens, the largest with ' || with_commas(l.most_tokens) as evidence
    from large_requests l
    join policy_alert_rules r on r.kind = 'large_request' and l.most_tokens > r.tokens
    union all by name
    select
        'call_loop' as kind, [b.source, b.trace, b.usage_date::varchar] as key, b.team_id, b.project_id, b.application, b.model, b.source, b.trace as subject,
        b.usage_date as raised_on, b.first_at as window_start, b.last_at as window_end,
        'calls' as unit, r.calls::decimal(38, 12) as expected, b.most_calls::decimal(38, 12) as actual, b.contracted_cost as cost_impact,
        with_commas(b.most_calls) || ' calls within ' || r.minutes || ' minutes in ' || b.trace || ' of ' || coalesce(b.project_id, b.team_id) || ', ' || with_commas(b.failures)
            || ' failed, ' || with_commas(b.tokens) || ' tokens in ' || with_commas(b.calls) || ' calls from ' || strftime(b.first_at, '%H:%M') || ' to ' || strftime(b.last_at, '%H:%M')
            || ' UTC' || if(b.most_attempts > 1, ', up to attempt ' || b.most_attempts, '') as evidence
    from call_bursts b
    join policy_alert_rules r on r.kind = 'call_loop' and b.most_calls >= r.calls
    union all by name
    select
        'failed_calls' as kind, [f.team_id, f.project_id, f.application, f.raised_on::varchar] as key, f.team_id, f.project_id, f.application, f.raised_on,
        f.raised_on::timestamp as window_start, (f.raised_on + 1)::timestamp as window_end,
        'calls' as unit, f.failures::decimal(38, 12) as actual, f.cost_impact,
        with_commas(f.failures) || ' of ' || with_commas(f.calls) || ' calls of ' || coalesce(f.project_id, f.team_id) || ' failed on ' || f.raised_on as evidence
    from alert_failed_calls f
    union all by name
    select
        'cache_drop' as kind, [c.team_id, c.project_id, c.model, c.raised_on::varchar] as key, c.team_id, c.project_id, c.model, c.raised_on,
        c.window_start, c.window_end, 'percent' as unit, c.expected, c.actual, c.cost_impact,
        'the prompt cache answered ' || c.actual || ' percent of the input tokens of ' || concat_ws(' with ', coalesce(c.project_id, c.team_id), c.model)
            || ' in seven days, ' || c.expected || ' percent in the four weeks before' as evidence
    from alert_cache_drop c
    union all by name
    select
        'gpu_idle' as kind, [g.cluster, g.gpu_model, g.window_start::varchar] as key, g.cluster as subject, g.raised_on, g.window_start, g.window_end,
        'percent' as unit, r.percent::decimal(38, 12) as expected, g.actual, g.cost_impact,
        concat_ws(' ', g.cluster, g.gpu_model) || ' used ' || g.actual || ' percent of its GPUs from ' || strftime(g.window_start, '%Y-%m-%d %H:%M') || ' to '
            || strftime(g.window_end, '%H:%M') || ' UTC: ' || g.idle_hours::decimal(38, 1) || ' GPU-hours idle' as evidence
    from alert_gpu_idle g
    join policy_alert_rules r on r.kind = 'gpu_idle'
    union all by name
    select
        'gpu_queue' as kind, [q.cluster, q.team_id, q.raised_on::varchar] as key, q.team_id, q.cluster as subject, q.raised_on,
        q.raised_on::timestamp as window_start, (q.raised_on + 1)::timestamp as window_end, 'minutes' as unit, q.expected::decimal(38, 12) as expected,
        q.actual::decimal(38, 12) as actual,
        '95 of 100 of ' || q.jobs || ' jobs of ' || q.team_id || ' that started on ' || q.cluster || ' on ' || q.raised_on || ' had waited up to '
            || q.actual::decimal(38, 0) || ' minutes for their GPUs, the longest ' || q.longest::decimal(38, 0) as evidence
    from alert_gpu_queue q
    union all by name
    select
        'source_silent' as kind, [s.source_kind, s.source, s.last_day::varchar] as key, s.source, s.raised_on,
        (s.last_day + 1)::timestamp as window_start, (s.raised_on + 1)::timestamp as window_end,
        'days' as unit, s.usual_days::decimal(38, 12) as expected, s.silent_days::decimal(38, 12) as actual,
        'nothing from ' || s.source_kind || ' source ' || s.source || ' about the ' || s.silent_days || ' days after ' || s.last_day || '; it usually moves on by '
            || s.usual_days || if(s.usual_days = 1, ' day', ' days') as evidence,
        'data came again from ' || s.came_again as closed_because
    from alert_source_silent s
    union all by name
    select
        u.kind, [u.kind, u.period, u.what] as key, u.what as subject, u.raised_on, p.starts_on::timestamp as window_start, (u.raised_on + 1)::timestamp as window_end,
        if(u.kind = 'unpriced', 'tokens', coalesce(u.currency, o.currency)) as unit, u.limit_reached as expected, u.actual,
        case when u.kind <> 'unpriced' then u.actual end as cost_impact,
        case u.kind
            when 'unpriced' then with_commas(u.actual) || ' tokens of ' || u.what || ' in ' || u.period || ' have no price'
            when 'unmapped' then cents_with_commas(u.actual) || ' ' || coalesce(u.currency, o.currency) || ' in ' || u.period || ' is billed for ' || u.what || ', which nobody knows'
            else cents_with_commas(u.actual) || ' ' || coalesce(u.currency, o.currency) || ' in ' || u.period || ' has no owner: ' || u.what end as evidence
    from alert_unsettled u
    join periods p on p.period = u.period
    cross join home o
    union all by name
    select
        'budget' as kind, [b.budget_id, b.for_project, b.period, greatest(b.version, 1)::varchar, b.percent::varchar] as key,
        nullif(b.for_project, '') as project_id, b.budget_id as subject, b.crossed_on as raised_on,
        p.starts_on::timestamp as window_start, (b.crossed_on + 1)::timestamp as window_end,
        b.currency as unit, b.amount as expected, b.consumed as actual, greatest(b.consumed - b.amount, 0)::decimal(38, 12) as cost_impact,
        'budget ' || concat_ws(' of ', b.budget_id, nullif(b.for_project, '')) || ' for ' || b.period || ' reached ' || b.percent || ' percent: '
            || cents_with_commas(b.consumed) || ' of ' || cents_with_commas(b.amount) || ' ' || b.currency || ' by ' || b.crossed_on as evidence,
        b.action, b.owner, s.value as team_id
    from budget_thresholds b
    join periods p on p.period = b.period
    join policy_alert_rules r on r.kind = 'budget'
    left join (
        select budget_id, min(value) as value from policy_budget_scope where field = 'team' group by all having count(*) = 1
    ) s on s.budget_id = b.budget_id
    where b.action <> 'note'
),
watched as (
    select s.*
    from signals s
    where s.raised_on <= $through and s.raised_on > $through::date - 62
        and not exists (
            from policy_alert_exceptions x
            where x.kind = s.kind and x.name in (s.team_id, s.project_id, s.application, s.model, s.source, s.subject))
)
select
    left(key_of([w.kind, w.key::varchar]), 16) as alert_id,
    w.kind,
    case coalesce(w.action, r.action) when 'page' then 'critical' when 'note' then 'info' else 'warning' end as severity,
    coalesce(w.team_id, o.platform_team) as team_id,
    w.project_id, w.application, w.model, w.source, w.subject,
    w.raised_on, w.window_start, w.window_end,
    w.unit, w.expected::decimal(38, 12) as expected, w.actual::decimal(38, 12) as actual,
    w.cost_impact::decimal(38, 12) as cost_impact,
    if(w.kind in ('unmapped', 'unallocated'), w.unit, o.currency) as currency,
    w.evidence, nullif(w.also, '') as also,
    coalesce(w.owner, t.owner, o.platform_owner) as owner,
    list_filter([w.owner, t.owner, o.platform_owner], lambda address: contains(address, '@'))[1] as owner_mail,
    coalesce(n.state, if(w.closed_because is not null, 'closed', 'open')) as state,
    coalesce(n.note, w.closed_because) as note,
    n.actor as noted_by,
    coalesce(w.action, r.action) as action
from watched w
join policy_alert_rules r on r.kind = w.kind
cross join home o
left join policy_teams t on t.team_id = w.team_id
left join alert_notes n on n.alert_id = left(key_of([w.kind, w.key::varchar]), 16)
