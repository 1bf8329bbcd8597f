-- What each team is charged, line by line, in cents. Cents appear here and nowhere earlier: all lines of a period, legal
-- entity and currency are rounded together, so that they add up to their rounded sum. A reopened month keeps the cents it
-- was closed with; only what came since is rounded and added to them.
-- grain: period, version, team_id, cost_center, line_no
--   original_period: the closed month that an adjustment line corrects; NULL where the line is of its own month
with closed_lines as (
    select b.*
    from booked_statement_lines b
    join periods p on p.period = b.period and p.version = b.version and p.state <> 'closed'
),
rows as (
    select
        l.*, case when l.category = 'adjustment' and l.original_period <> l.period then l.original_period end as corrected,
        coalesce(i.is_small and l.category = 'adjustment' and l.cost_pool <> 'dispute' and l.since_version = 0, false) as is_small
    from ledger l
    left join late_items i on i.period = l.period and i.original_period = l.original_period and i.cost_center is not distinct from l.cost_center
    where l.version = 0
),
summed as (
    select
        period, team_id, cost_center, legal_entity, line_id, any_value(category) as category,
        case when bool_or(is_small) then 'Small late items' else any_value(service) end as service,
        case when not bool_or(is_small) then any_value(model) end as model,
        case when bool_or(is_small) then 'adjustment' else any_value(activity) end as activity,
        case when count(distinct coalesce(corrected, '')) = 1 then any_value(corrected) end as original_period,
        case when count(distinct consumed_unit) filter (consumed_quantity <> 0) = 1 and not bool_or(is_small)
            then sum(consumed_quantity)::decimal(38, 12) end as quantity,
        case when count(distinct consumed_unit) filter (consumed_quantity <> 0) = 1 and not bool_or(is_small)
            then max(consumed_unit) filter (consumed_quantity <> 0) end as unit,
        sum(list_cost)::decimal(38, 12) as list_cost
    from rows
    group by all
),
-- A correction is converted at the rate of the month it belongs to.
months as (
    select
        period, line_id, original_period, billing_currency,
        coalesce(sum(pico(chargeback_cost)) filter (since_version = 0), 0)::hugeint as units
    from rows
    group by all
),
converted as (
    select
        m.period, m.line_id, b.currency,
        case when count(distinct case when m.billing_currency = b.currency then 1 else f.rate end) = 1
            then any_value(case when m.billing_currency = b.currency then 1 else f.rate end)::decimal(38, 12) end as fx_rate,
        sum(case when m.billing_currency = b.currency then m.units
            else sign(m.units)::hugeint * (abs(m.units) * pico(f.rate) // 1000000000000) end)::hugeint as units_due
    from months m
    cross join policy_company b
    left join exchange_rates f on f.period = m.original_period and f.currency = m.billing_currency
    group by all
),
-- Largest remainder: whole cents rounded down, and the missing cents to the lines that lost most.
floored as (
    select
        s.*, c.currency, c.fx_rate,
        (c.units_due - ((c.units_due % 10000000000) + 10000000000) % 10000000000) // 10000000000 as cents,
        ((c.units_due % 10000000000) + 10000000000) % 10000000000 as lost,
        sum(c.units_due) over (partition by s.period, s.legal_entity, c.currency) as group_units
    from summed s
    join converted c on c.period = s.period and c.line_id = s.line_id
),
ranked as (
    select
        *,
        sign(group_units)::hugeint * ((abs(group_units) + 5000000000) // 10000000000)
            - sum(cents) over (partition by period, legal_entity, currency) as missing,
        row_number() over (partition by period, legal_entity, currency order by lost desc, line_id) as place
    from floored
),
due as (
    select
        r.* replace (
            coalesce(b.service, r.service) as service,
            case when b.line_id is null then r.model else b.model end as model,
            coalesce(b.activity, r.activity) as activity
        ),
        (((r.cents + case when r.place <= r.missing then 1 else 0 end)::decimal(38, 0) * 0.01::decimal(2, 2))::decimal(18, 2) + coalesce(b.amount, 0))::decimal(18, 2) as amount,
        b.line_id is not null as was_closed
    from ranked r
    left join closed_lines b on b.period = r.period and b.line_id = r.line_id
),
-- How a team that left was charged last.
last_modes as (
    select team_id, arg_max(mode, (period, version)) as mode from booked_statement_lines group by all
),
drafts as (
    select
        d.period, 0::integer as version, d.team_id, d.cost_center, d.legal_entity, d.line_id, d.category, d.service, d.model,
        d.activity, d.original_period, d.quantity, d.unit,
        case when d.quantity > 0 and d.list_cost is not null then
            money(pico(d.amount) * 1000 // (d.quantity * 1000)::hugeint) end as unit_rate,
        d.list_cost, d.amount, d.currency, d.fx_rate, g.gl_account,
        coalesce(m.mode, w.mode, 'showback') as mode
    from due d
    join periods p on p.period = d.period
    left join policy_gl_accounts g on g.activity = d.activity
    left join policy_team_modes m on m.team_id = d.team_id and p.starts_on >= m.valid_from and p.starts_on < m.valid_to
    left join last_modes w on w.team_id = d.team_id
    where d.amount <> 0 or d.list_cost <> 0 or d.quantity <> 0 or d.was_closed
),
everything as (
    select * from drafts
    union all by name
    select * exclude (line_no, prior_amount) from booked_statement_lines
),
-- The month before, as it stands in its latest version.
earlier as (
    select n.period, e.team_id, e.cost_center, e.category, e.service, e.model, e.activity, sum(e.amount)::decimal(18, 2) as amount
    from everything e
    join periods p on p.period = e.period and p.version = e.version
    join periods n on n.starts_on = p.ends_on
    group by all
)
select
    e.period, e.version, e.team_id, e.cost_center, e.legal_entity,
    row_number() over (
        partition by e.period, e.version, e.team_id
        order by array_position(['direct', 'shared', 'adjustment', 'recovery'], e.category), e.activity, e.service, e.model nulls first, e.cost_center, e.line_id
    )::integer as line_no,
    e.line_id, e.category, e.service, e.model, e.activity, e.original_period, e.quantity, e.unit, e.unit_rate, e.list_cost, e.amount,
    coalesce(b.prior_amount, w.amount, 0)::decimal(18, 2) as prior_amount,
    e.currency, e.fx_rate, e.gl_account, e.mode
from everything e
left join booked_statement_lines b on b.line_id = e.line_id and b.period = e.period and b.version = e.version
left join earlier w on w.period = e.period and w.team_id = e.team_id and w.cost_center is not distinct from e.cost_center
    and w.category = e.category and w.service is not distinct from e.service and w.model is not distinct from e.model
    and w.activity = e.activity
