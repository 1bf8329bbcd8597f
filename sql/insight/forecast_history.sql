-- What a month was expected to cost, on each of its days: the same formulas for today's forecast and for looking back at old ones.
-- Every method is what the month has cost so far, and what it still will: last_7_days takes the mean of the last seven complete days for
-- each day that remains, weekdays the mean of the last four days of the same weekday; run_rate alone is the mean of the last seven days for
-- every day of the month. All times the growth declared for the team. What does not come again is counted once, never in a mean.
-- grain: scope, scope_id, period, as_of, method
--   scope: company, team or budget
--   scope_id: the team or the budget; the company's own name for the company
--   as_of: the last complete day that the forecast knows
--   method: last_7_days, weekdays, run_rate
--   to_date: cost of the month up to this day, one-off cost included
--   one_off_cost: the part of it that does not come again
--   days_used: complete days behind the mean; with fewer than three (weekdays: 28) there is no forecast
--   days_left: days of the month after this day
--   growth: factor declared for the team, 1 where nothing is declared
--   forecast: cost expected at the end of the month; NULL where too few days are known; the actual cost on its last day
--   low: forecast less Student's t (95 percent) times the standard deviation of a day times the root of the days left; an estimate
--   high: the same above
with daily as (
    select 'company' as scope, b.name as scope_id, usage_date, period, one_off, sum(cost) as cost from cost_daily cross join policy_company b group by all
    union all by name
    select 'team' as scope, team_id as scope_id, usage_date, period, one_off, sum(cost) as cost from cost_daily group by all
    union all by name
    select 'budget' as scope, concat_ws(' ', budget_id, nullif(for_project, '')) as scope_id, usage_date, period, one_off, sum(cost) as cost
    from budget_costs
    group by all
),
-- A correction is dated in the month it corrects and counts in the month that books it, from its first day on.
placed as (
    select d.scope, d.scope_id, d.period, greatest(d.usage_date, p.starts_on) as usage_date, d.one_off, d.cost
    from daily d
    join periods p on p.period = d.period
),
spans as (
    select scope, scope_id, min(usage_date) as first_day from placed group by all
),
days as (
    select s.scope, s.scope_id, t.day::date as usage_date, p.period, p.starts_on, p.ends_on
    from spans s
    cross join lateral (select unnest(generate_series(s.first_day::timestamp, $through::timestamp, interval 1 day)) as day) t
    join periods p on t.day::date >= p.starts_on and t.day::date < p.ends_on
),
known as (
    select
        d.scope, d.scope_id, d.period, d.usage_date, d.starts_on, d.ends_on,
        coalesce(sum(p.cost) filter (not p.one_off), 0)::decimal(38, 12) as recurring,
        coalesce(sum(p.cost) filter (p.one_off), 0)::decimal(38, 12) as one_off
    from days d
    left join placed p on p.scope = d.scope and p.scope_id = d.scope_id and p.period = d.period and p.usage_date = d.usage_date
    group by all
),
moving as (
    select
        *,
        sum(recurring + one_off) over month as to_date,
        sum(one_off) over month as one_off_cost,
        count(*) over week as days_used,
        sum(recurring) over week as week_sum,
        stddev_samp(recurring::double) over week as day_sd,
        count(*) over (partition by scope, scope_id order by usage_date rows between 27 preceding and current row) as days_known,
        sum(recurring) over (
            partition by scope, scope_id, dayofweek(usage_date) order by usage_date rows between 3 preceding and current row) as weekday_sum,
        (ends_on - usage_date - 1)::bigint as days_left,
        (ends_on - starts_on)::bigint as days
    from known
    window
        month as (partition by scope, scope_id, period order by usage_date),
        week as (partition by scope, scope_id order by usage_date rows between 6 preceding and current row)
),
-- Of the days that are left, (days_left - j) // 7 + 1 have the weekday of the day 7 - j days ago.
weekdays as (
    select
        m.scope, m.scope_id, m.usage_date,
        sum(case when m.days_left >= j.j then pico(e.weekday_sum) * ((m.days_left - j.j) // 7 + 1) else 0 end)::hugeint as units
    from moving m
    cross join (select unnest(range(1, 8)) as j) j
    join moving e on e.scope = m.scope and e.scope_id = m.scope_id and e.usage_date = m.usage_date + (j.j - 7)::integer
    where m.days_known = 28
    group by all
),
grown as (
    select m.*, (coalesce(g.growth, 1) * 1000000)::hugeint as ppm, w.units as weekday_units, t.t
    from moving m
    left join weekdays w on w.scope = m.scope and w.scope_id = m.scope_id and w.usage_date = m.usage_date
    left join policy_growth g on m.scope = 'team' and g.team_id = m.scope_id and m.usage_date >= g.valid_from and m.usage_date < g.valid_to
    left join (values (3, 4.303), (4, 3.182), (5, 2.776), (6, 2.571), (7, 2.447)) t(n, t) on t.n = m.days_used
),
methods as (
    select
        *, 'last_7_days' as method, days_used as used,
        case when days_left = 0 then 0 when days_used >= 3 then pico(week_sum) * days_left * ppm // (days_used * 1000000) end as more,
        to_date as base
    from grown
    union all by name
    select
        *, 'weekdays' as method, days_known as used,
        case when days_left = 0 then 0 when days_known = 28 then weekday_units * ppm // 4000000 end as more,
        to_date as base
    from grown
    union all by name
    select
        *, 'run_rate' as method, days_used as used,
        case when days_left = 0 then 0 when days_used >= 3 then pico(week_sum) * days * ppm // (days_used * 1000000) end as more,
        case when days_left = 0 then to_date else one_off_cost end as base
    from grown
)
select
    scope, scope_id, period, usage_date as as_of, method, to_date::decimal(38, 12) as to_date, one_off_cost::decimal(38, 12) as one_off_cost,
    used as days_used, days_left, (ppm * 0.000001::decimal(7, 6))::decimal(12, 6) as growth,
    (base + money(more))::decimal(38, 12) as forecast,
    (base + money(more) - (t * day_sd * sqrt(days_left))::decimal(38, 2))::decimal(38, 12) as low,
    (base + money(more) + (t * day_sd * sqrt(days_left))::decimal(38, 2))::decimal(38, 12) as high
from methods
