-- At what a gateway could stop a team, or an application of a team, where nobody declared a budget for it: a suggestion, taken from what
-- its own days cost, that nobody decided and nothing enforces. A budget is its own that names the team alone, or the application alone or
-- with that team; one for each project is not. Empty where no period is declared for the day. Also JSON under reports/guardrails/.
-- grain: scope, team_id, application
--   scope: team, or application of a team
--   team_id: the team
--   application: NULL for a team as a whole
--   day: the day that it is for
--   period: the month of that day
--   as_of: the last complete day that is counted
--   state: suggested; not_known with less than 14 days to go by; or no_cost, where no day cost anything in the end
--   days_used: complete days of the last 28 since the first cost, less those left out
--   days_left_out: days on which the team's cost was raised as a rise out of the ordinary: no measure of what is ordinary
--   highest_on: the day of these that cost most, the last of several
--   highest_cost: what it cost, direct and recurring, in the company's currency
--   daily_limit: highest_cost with the headroom of the assumption, rounded up to cents; NULL unless suggested
--   monthly_limit: upper end of the forecast of a month that is running, all of a team's cost, rounded up to cents; NULL where there is
--     no forecast, as of applications, and unless suggested
--   currency: the company's currency, ISO 4217
--   assumption: what has to be true for the daily limit to stop nothing that is ordinary
with settings as (
    select $through::date + 1 as day, $next_period::varchar as period, 28 as window_days, 14 as least_days, 2 as headroom
    where $next_period is not null
),
asked as (
    select 'team' as scope, team_id, null::varchar as application from policy_teams
    union all by name
    select distinct 'application' as scope, team_id, scope_id as application from cost_levels where scope = 'application'
),
scopes as (
    select
        s.budget_id, count(*) as parts,
        max(s.value) filter (s.field = 'team') as team_id, max(s.value) filter (s.field = 'application') as application
    from policy_budget_scope s
    join policy_budgets b on b.budget_id = s.budget_id and b.kind <> 'per_project'
    join settings d on b.valid_from <= d.day and b.valid_to > d.day
    group by all
),
own as (
    select team_id, application from scopes where parts = (team_id is not null)::integer + (application is not null)::integer
),
raised as (
    select distinct scope_id as team_id, usage_date from anomalies where scope = 'team' and direction = 'rise'
),
measured as (
    select
        l.scope, l.team_id, if(l.scope = 'application', l.scope_id, null) as application,
        count(*) filter (r.team_id is null) as days_used,
        count(*) filter (r.team_id is not null) as days_left_out,
        max({'units': pico(l.cost), 'day': l.usage_date}) filter (r.team_id is null) as highest
    from cost_levels l
    join settings d on l.usage_date > $through::date - d.window_days and l.usage_date <= $through
    left join raised r on r.team_id = l.team_id and r.usage_date = l.usage_date
    where l.scope in ('team', 'application')
    group by all
),
judged as (
    select
        a.*, d.*, coalesce(m.days_used, 0) as days_used, coalesce(m.days_left_out, 0) as days_left_out,
        m.highest.units as units, m.highest.day as highest_on,
        case
            when coalesce(m.days_used, 0) < d.least_days then 'not_known'
            when m.highest.units <= 0 then 'no_cost'
            else 'suggested' end as state
    from asked a
    cross join settings d
    left join measured m on m.scope = a.scope and m.team_id = a.team_id and m.application is not distinct from a.application
    where not exists (
        from own o
        where case a.scope
            when 'team' then o.team_id = a.team_id and o.application is null
            else o.application = a.application and coalesce(o.team_id, a.team_id) = a.team_id end)
)
select
    j.scope, j.team_id, j.application, j.day, j.period, $through::date as as_of, j.state,
    j.days_used, j.days_left_out, j.highest_on, money(j.units) as highest_cost,
    case when j.state = 'suggested' then whole_cents(j.units * j.headroom) end as daily_limit,
    case when j.state = 'suggested' and f.high > 0 then whole_cents(pico(f.high)) end as monthly_limit,
    o.currency,
    'no ordinary day costs more than ' || j.headroom || ' times the highest of the last ' || j.window_days
        || ' days, without days raised as a rise' as assumption
from judged j
cross join policy_company o
left join forecast f on f.scope = j.scope and f.scope_id = j.team_id and f.period = j.period and f.method = 'last_7_days'
