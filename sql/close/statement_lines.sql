-- What each team is charged, line by line, in cents. Cents appear here and nowhere earlier: all lines of a period, legal
-- entity and currency are rounded together, so that they add up to their rounded sum.
-- grain: period, version, team_id, cost_center, line_no
with latest_fx as (
    select period, currency, rate from fx_rates where usage_period = period
),
summed as (
    select
        l.period, l.team_id, l.cost_center, l.legal_entity, l.line_id, l.category, l.service, l.model, l.activity,
        l.billing_currency,
        case when count(distinct l.consumed_unit) filter (l.consumed_quantity <> 0) = 1
            then sum(l.consumed_quantity)::decimal(38, 12) end as quantity,
        case when count(distinct l.consumed_unit) filter (l.consumed_quantity <> 0) = 1
            then max(l.consumed_unit) filter (l.consumed_quantity <> 0) end as unit,
        sum(l.list_cost)::decimal(38, 12) as list_cost,
        sum(pico(l.chargeback_cost))::hugeint as units
    from ledger l
    where l.version = 0
    group by all
),
converted as (
    select
        s.*,
        b.currency,
        case when s.billing_currency = b.currency then 1 else f.rate end::decimal(38, 12) as fx_rate,
        case when s.billing_currency = b.currency then s.units
            else sign(s.units)::hugeint * (abs(s.units) * pico(f.rate) // 1000000000000) end as units_due
    from summed s
    cross join policy_company b
    left join latest_fx f on f.period = s.period and f.currency = s.billing_currency
),
-- Largest remainder: whole cents rounded down, and the missing cents to the lines that lost most.
floored as (
    select
        *,
        (units_due - ((units_due % 10000000000) + 10000000000) % 10000000000) // 10000000000 as cents,
        ((units_due % 10000000000) + 10000000000) % 10000000000 as lost,
        sum(units_due) over (partition by period, legal_entity, currency) as group_units
    from converted
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
    select *, ((cents + case when place <= missing then 1 else 0 end)::decimal(38, 0) * 0.01::decimal(2, 2))::decimal(18, 2) as amount
    from ranked
),
drafts as (
    select
        d.period, 0::integer as version, d.team_id, d.cost_center, d.legal_entity, d.line_id, d.category, d.service, d.model,
        d.activity, d.quantity, d.unit,
        case when d.quantity > 0 and d.list_cost is not null then
            money(pico(d.amount) * 1000 // (d.quantity * 1000)::hugeint) end as unit_rate,
        d.list_cost, d.amount, d.currency, d.fx_rate, g.gl_account,
        coalesce(m.mode, 'showback') as mode
    from due d
    join periods p on p.period = d.period
    left join policy_gl_accounts g on g.activity = d.activity
    left join policy_team_modes m on m.team_id = d.team_id and p.starts_on >= m.valid_from and p.starts_on < m.valid_to
    where d.amount <> 0 or d.list_cost <> 0 or d.quantity <> 0
),
-- The month before, as it stands in its latest version.
everything as (
    select * from drafts
    union all by name
    select * exclude (line_no, prior_amount) from booked_statement_lines
),
earlier as (
    select n.period, e.team_id, e.cost_center, e.category, e.service, e.model, e.activity, sum(e.amount)::decimal(18, 2) as amount
    from everything e
    join periods p on p.period = e.period
    join periods n on n.starts_on = p.ends_on
    group by all
)
select
    e.period, e.version, e.team_id, e.cost_center, e.legal_entity,
    row_number() over (
        partition by e.period, e.version, e.team_id
        order by array_position(['direct', 'shared', 'adjustment', 'recovery'], e.category), e.activity, e.service, e.model nulls first, e.cost_center, e.line_id
    )::integer as line_no,
    e.line_id, e.category, e.service, e.model, e.activity, e.quantity, e.unit, e.unit_rate, e.list_cost, e.amount,
    coalesce(b.prior_amount, w.amount, 0)::decimal(18, 2) as prior_amount,
    e.currency, e.fx_rate, e.gl_account, e.mode
from everything e
left join booked_statement_lines b on b.line_id = e.line_id and b.period = e.period and b.version = e.version
left join earlier w on w.period = e.period and w.team_id = e.team_id and w.cost_center is not distinct from e.cost_center
    and w.category = e.category and w.service is not distinct from e.service and w.model is not distinct from e.model
    and w.activity = e.activity
