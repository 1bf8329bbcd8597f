-- Why a team's charge moved since the month before, line by line: by volume, by rate or by mix, to the cent.
-- Each meter of a line (tokens of input, of output, ...) has a quantity q and a cost c of this month, and q0 and c0 of the month
-- before; C, Q, C0 and Q0 are their sums over the line's meters of one unit:
--     volume = C0 x (Q - Q0) / Q0;  rate = sum of (c - c0 x q / q0) over meters used in both months;  mix = C - C0 - volume - rate
-- What began this month is `new_amount`; what ended is volume. Amounts without a quantity (fees, taxes), credits and corrections are
-- `other_amount`: there is nothing to count. The cents that rounding leaves are put to the largest part.
-- A line of the month before that ended has a row of its own, with an amount of 0.
-- grain: period, version, team_id, category, service, model, activity
--   prior_amount: the same line in the month before, as it stands in its latest version
--   change: amount less prior_amount
--   volume_amount: what more or less of the same, in the month before's proportions, cost at the month before's prices
--   rate_amount: what other prices cost, exchange rates among them
--   mix_amount: what other proportions of the line's meters cost, at the month before's prices
--   new_amount: what was not used at all in the month before
--   other_amount: what has no quantity to compare: fees, taxes, credits, corrections
--   quantity: quantity of this month; NULL where the line is counted in several units
--   prior_quantity: quantity of the month before; NULL where the line is counted in several units
--   unit: unit of both quantities
with newest as (
    select period, max(version) as version from statement_lines group by all
),
-- The ledger rows behind a version: its own, else those of the month as they stand.
behind as (
    select s.period, s.version, coalesce(max(l.version) filter (l.version = s.version), max(l.version)) as ledger_version
    from (select distinct period, version from statement_lines) s
    left join (select distinct period, version from ledger) l on l.period = s.period
    group by all
),
months as (
    select s.period, s.version, s.ledger_version, n.period as before, n.version as before_version, o.ledger_version as before_ledger_version
    from behind s
    join periods p on p.period = s.period
    left join periods b on b.ends_on = p.starts_on
    left join newest n on n.period = b.period
    left join behind o on o.period = n.period and o.version = n.version
),
lines as (
    select m.period, m.version, true as is_now, s.team_id, s.category, s.service, s.model, s.activity, s.line_id, s.amount, s.currency, s.fx_rate
    from months m
    join statement_lines s on s.period = m.period and s.version = m.version
    union all
    select m.period, m.version, false, s.team_id, s.category, s.service, s.model, s.activity, s.line_id, s.amount, s.currency, s.fx_rate
    from months m
    join statement_lines s on s.period = m.before and s.version = m.before_version
),
compared as (
    select
        period, version, team_id, category, service, model, activity, max(currency) as currency, bool_and(is_now) as is_new,
        coalesce(sum(amount) filter (is_now), 0)::decimal(18, 2) as amount,
        coalesce(sum(amount) filter (not is_now), 0)::decimal(18, 2) as prior_amount
    from lines
    group by all
),
meters as (
    select charge_id, any_value(sku_meter) as sku_meter from charges group by all
),
held as (
    select l.line_id, l.version, m.sku_meter, l.consumed_unit as unit, sum(l.consumed_quantity) as quantity, sum(l.chargeback_cost) as cost
    from ledger l
    left join meters m on m.charge_id = l.charge_id
    group by all
),
items as (
    select
        n.period, n.version, n.team_id, n.category, n.service, n.model, n.activity, h.sku_meter, h.unit,
        coalesce(sum(h.quantity) filter (n.is_now), 0)::decimal(38, 12) as q,
        coalesce(sum(h.quantity) filter (not n.is_now), 0)::decimal(38, 12) as q0,
        money(coalesce(sum(pico(h.cost * coalesce(n.fx_rate, 1))) filter (n.is_now), 0)) as c,
        money(coalesce(sum(pico(h.cost * coalesce(n.fx_rate, 1))) filter (not n.is_now), 0)) as c0
    from lines n
    join months m on m.period = n.period and m.version = n.version
    join held h on h.line_id = n.line_id and h.version = case when n.is_now then m.ledger_version else m.before_ledger_version end
    group by all
),
-- Thousandths of a unit: below one there is nothing to divide by.
counted as (
    select
        *,
        (q * 1000)::hugeint as n,
        (q0 * 1000)::hugeint as n0,
        unit is not null and category <> 'adjustment' and q >= 0 and q0 >= 0 and c >= 0 and c0 >= 0 and n + n0 > 0
            and (n > 0 or c = 0) and (n0 > 0 or c0 = 0) as is_counted
    from items
),
split as (
    select
        period, version, team_id, category, service, model, activity, unit, is_counted,
        sum(q)::decimal(38, 12) as q, sum(q0)::decimal(38, 12) as q0, sum(n)::hugeint as n, sum(n0)::hugeint as n0,
        sum(c)::decimal(38, 12) as c, sum(c0)::decimal(38, 12) as c0,
        coalesce(sum(pico(c) - pico(c0) * n // nullif(n0, 0)) filter (n > 0 and n0 > 0), 0)::hugeint as rate
    from counted
    group by all
),
parts as (
    select
        *,
        pico(c) - pico(c0) as delta,
        case when not is_counted or n0 = 0 then 0 else pico(c0) * (n - n0) // nullif(n0, 0) end as volume
    from split
),
summed as (
    select
        period, version, team_id, category, service, model, activity,
        coalesce(sum(volume) filter (is_counted), 0) as volume,
        coalesce(sum(rate) filter (is_counted and n0 > 0 and n > 0), 0) as rate,
        coalesce(sum(delta - volume - rate) filter (is_counted and n0 > 0 and n > 0), 0) as mix,
        coalesce(sum(delta) filter (is_counted and n0 = 0), 0) as new,
        coalesce(sum(delta) filter (not is_counted), 0) as other,
        case when count(distinct unit) filter (n <> 0 or n0 <> 0) = 1 then sum(q)::decimal(38, 12) end as quantity,
        case when count(distinct unit) filter (n <> 0 or n0 <> 0) = 1 then sum(q0)::decimal(38, 12) end as prior_quantity,
        case when count(distinct unit) filter (n <> 0 or n0 <> 0) = 1 then max(unit) filter (n <> 0 or n0 <> 0) end as unit
    from parts
    group by all
),
in_cents as (
    select
        c.*, (c.amount - c.prior_amount)::decimal(18, 2) as change, s.quantity, s.prior_quantity, s.unit,
        case when c.is_new and c.category <> 'adjustment' then [0, 0, 0, c.amount, 0]
            else [round(money(coalesce(part, 0)), 2) for part in [s.volume, s.rate, s.mix, s.new, s.other]] end::decimal(18, 2)[] as cents
    from compared c
    left join summed s on s.period = c.period and s.version = c.version and s.team_id = c.team_id and s.category = c.category
        and s.service is not distinct from c.service and s.model is not distinct from c.model and s.activity is not distinct from c.activity
),
largest as (
    select
        *,
        (change - list_sum(cents))::decimal(18, 2) as lost,
        case when list_max([abs(part) for part in cents]) = 0 then 5
            else list_position([abs(part) for part in cents], list_max([abs(part) for part in cents])) end as place
    from in_cents
)
select
    period, version, team_id, category, service, model, activity, currency, amount, prior_amount, change,
    (cents[1] + case when place = 1 then lost else 0 end)::decimal(18, 2) as volume_amount,
    (cents[2] + case when place = 2 then lost else 0 end)::decimal(18, 2) as rate_amount,
    (cents[3] + case when place = 3 then lost else 0 end)::decimal(18, 2) as mix_amount,
    (cents[4] + case when place = 4 then lost else 0 end)::decimal(18, 2) as new_amount,
    (cents[5] + case when place = 5 then lost else 0 end)::decimal(18, 2) as other_amount,
    quantity, prior_quantity, unit
from largest
