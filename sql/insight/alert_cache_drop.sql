-- Projects and models whose prompt cache answers less: the share of input tokens of seven days, against the 28 days before, on the first day that
-- it lies so many points below (not again within a week). At least 14 days have to be known before the week; a week with little input says nothing.
-- grain: team_id, project_id, model, raised_on
--   window_start: first day of the week
--   window_end: end of its last day
--   expected: share of the 28 days before, in percent
--   actual: share of the week, in percent
--   cost_impact: what the week's input cost more than with the share of before, at the prices of its days; NULL where some of it has no price
with daily as (
    select
        u.team_id, u.project_id, u.model, u.usage_date,
        sum(u.cache_read_tokens)::hugeint as read,
        sum(u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens)::hugeint as input,
        coalesce(sum(u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens)
            filter (r.contracted_input_uncached - r.contracted_cache_read is null), 0)::hugeint as unpriced,
        sum(((r.contracted_input_uncached - r.contracted_cache_read) * 1000000000000)::hugeint * u.cache_read_tokens)::hugeint as read_saved,
        sum(((r.contracted_input_uncached - r.contracted_cache_read) * 1000000000000)::hugeint
            * (u.input_uncached_tokens + u.cache_read_tokens + u.cache_write_5m_tokens + u.cache_write_1h_tokens))::hugeint as input_saved
    from usage_daily u
    left join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    left join rates r on r.usage_period = p.period and r.rate_id = u.rate_id
    where u.usage_date <= $through and u.usage_date > $through::date - 124 and u.operation <> 'embedding' and u.gateway_cache = 'none'
    group by all
),
spans as (
    select team_id, project_id, model, min(usage_date) as first_day from daily group by all having sum(read) > 0
),
filled as (
    select
        s.*, t.day::date as usage_date, coalesce(d.read, 0)::hugeint as read, coalesce(d.input, 0)::hugeint as input,
        coalesce(d.unpriced, 0)::hugeint as unpriced, coalesce(d.read_saved, 0)::hugeint as read_saved, coalesce(d.input_saved, 0)::hugeint as input_saved
    from spans s
    cross join lateral (select unnest(generate_series(s.first_day::timestamp, $through::timestamp, interval 1 day)) as day) t
    left join daily d on d.team_id = s.team_id and d.project_id is not distinct from s.project_id and d.model is not distinct from s.model
        and d.usage_date = t.day::date
),
weeks as (
    select
        *,
        sum(read) over week as week_read, sum(input) over week as week_input, sum(unpriced) over week as week_unpriced,
        sum(read_saved) over week as week_saved, sum(input_saved) over week as week_saveable,
        sum(read) over earlier as earlier_read, sum(input) over earlier as earlier_input,
        usage_date - first_day - 6 as days_before
    from filled
    window
        week as (partition by team_id, project_id, model order by usage_date rows between 6 preceding and current row),
        earlier as (partition by team_id, project_id, model order by usage_date rows between 34 preceding and 7 preceding)
),
judged as (
    select
        w.*,
        (w.earlier_read * 10000 // nullif(w.earlier_input, 0))::bigint as share_before,
        (w.week_read * 10000 // nullif(w.week_input, 0))::bigint as share_now,
        coalesce(w.days_before >= 14 and w.week_input >= r.tokens and share_before - share_now >= (r.points * 100)::bigint, false) as falls
    from weeks w
    join policy_alert_rules r on r.kind = 'cache_drop'
),
first_days as (
    select *, coalesce(bool_or(falls) over (
        partition by team_id, project_id, model order by usage_date rows between 7 preceding and 1 preceding), false) as fell_before
    from judged
)
select
    team_id, project_id, model, usage_date as raised_on, (usage_date - 6)::timestamp as window_start, (usage_date + 1)::timestamp as window_end,
    (share_before * 0.01::decimal(3, 2))::decimal(18, 2) as expected,
    (share_now * 0.01::decimal(3, 2))::decimal(18, 2) as actual,
    case when week_unpriced = 0 then money((week_saveable * share_before // 10000 - week_saved)::hugeint) end as cost_impact
from first_days
where falls and not fell_before
