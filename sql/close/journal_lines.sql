-- What finance posts of the statements: one balanced entry per statement, legal entity and currency. Teams on chargeback
-- only. A version posts what its statements say less what earlier versions of the month have posted. Where another legal
-- entity bought than consumed, one entry has both sides, each balanced. Estimated cost of a month in review is accrued,
-- and reversed on the first day of the next one. A version that was closed before there were journals has none: what its
-- statements say counts as posted by hand.
-- grain: period, version, je_id, line_no
--   je_id: number of the entry, at most 16 characters; D in it stands for a draft, A for an accrual, R for its reversal
--   line_no: number of the line in its entry
--   posting_date: last day of the period; of a reversal, the first day after it
--   legal_entity: whose books the line is in
--   partner_entity: the other side of an intercompany entry
--   role: expense, recovery (contra-expense of the buyer's platform), due_to, due_from, accrued
--   kind: chargeback, correction (what a later version changes), intercompany, accrual, reversal
--   gl_account: NULL where accounts.yaml names none
--   cost_center: whose cost it is; of a recovery, the platform's cost center or what accounts.yaml names for the buyer; NULL on accounts of the balance sheet
--   activity: what the money was for; NULL on lines that balance an entry
--   reference: the statement that the entry posts
--   debit: in the currency of the statements; zero where the line is a credit
--   credit: zero where the line is a debit
--   line_memo: text of the line
--   header_memo: text of the entry; it ends with what finance calls the period
--   reversal_date: when an accrual is taken back
with centers as (
    select p.period, c.cost_center, c.legal_entity
    from periods p
    cross join policy_company b
    join policy_team_cost_centers c on c.team_id = b.platform_team and p.ends_on - 1 >= c.valid_from and p.ends_on - 1 < c.valid_to
),
named as (
    select k.activity, k.environment, k.legal_entity, coalesce(o.gl_account, g.gl_account) as gl_account
    from (select distinct activity, environment, legal_entity from ledger) k
    left join policy_gl_accounts g on g.activity = k.activity
    left join policy_gl_overrides o on o.activity = k.activity and coalesce(o.environment = k.environment, o.environment is null)
        and coalesce(o.legal_entity = k.legal_entity, o.legal_entity is null)
    qualify row_number() over (partition by k.activity, k.environment, k.legal_entity order by o.narrow desc nulls last) = 1
),
lines as (
    select s.period, s.team_id, s.cost_center, s.legal_entity, s.currency, s.line_id, s.activity, s.amount, s.fx_rate
    from statement_lines s
    where s.version = 0 and s.mode = 'chargeback'
),
behind as (
    select
        l.period, l.line_id, coalesce(c.legal_entity, l.legal_entity) as buyer, n.gl_account,
        sum(pico(l.chargeback_cost))::hugeint as units,
        coalesce(sum(pico(l.chargeback_cost)) filter (l.estimate_status = 'Estimated'), 0)::hugeint as estimated_units
    from ledger l
    join charges c on c.charge_id = l.charge_id
    join named n on n.activity = l.activity and n.environment is not distinct from l.environment
        and n.legal_entity is not distinct from l.legal_entity
    group by all
),
-- A line's cents by buyer and account: each part converted and rounded, and the largest takes what is left. A line of several
-- months with a rate each has none of its own: its parts are in proportion.
converted as (
    select
        l.*, coalesce(b.buyer, l.legal_entity) as buyer, b.gl_account,
        case when l.fx_rate is not null then pico(l.fx_rate) else pico(abs(l.amount)) end as numerator,
        case when l.fx_rate is not null then 1000000000000
            else nullif(abs(sum(b.units) over (partition by l.period, l.line_id)), 0) end::hugeint as denominator,
        b.units, b.estimated_units
    from lines l
    left join behind b on b.period = l.period and b.line_id = l.line_id
),
rounded as (
    select
        *,
        coalesce(sign(units)::hugeint * ((abs(units) * numerator // denominator + 5000000000) // 10000000000), 0) as cents,
        coalesce(sign(estimated_units)::hugeint * ((abs(estimated_units) * numerator // denominator + 5000000000) // 10000000000), 0) as estimated_cents,
        row_number() over (partition by period, line_id order by abs(units) desc nulls last, buyer, gl_account) as place
    from converted
),
parts as (
    select
        * exclude (cents),
        case when place = 1 then (amount * 100)::hugeint - sum(cents) over (partition by period, line_id) + cents else cents end as cents
    from rounded
),
due as (
    select period, team_id, cost_center, legal_entity, buyer, currency, gl_account, activity, false as accrues, cents
    from parts
    union all
    select b.period, b.team_id, b.cost_center, b.legal_entity, coalesce(b.partner_entity, b.legal_entity), b.currency, b.gl_account, b.activity,
        false, ((b.credit - b.debit) * 100)::hugeint
    from booked_journal_lines b
    join periods p on p.period = b.period and p.state <> 'closed'
    where b.role = 'expense'
    union all
    select s.period, s.team_id, s.cost_center, s.legal_entity, s.legal_entity, s.currency, s.gl_account, s.activity, false, (-s.amount * 100)::hugeint
    from booked_statement_lines s
    join (select period, max(version) as version from versions_without_journal group by all) w on w.period = s.period and w.version = s.version
    join periods p on p.period = s.period and p.state <> 'closed'
    where s.mode = 'chargeback'
    union all
    select a.period, a.team_id, a.cost_center, a.legal_entity, a.buyer, a.currency, a.gl_account, a.activity, true, a.estimated_cents
    from parts a
    join periods p on p.period = a.period and p.state = 'soft_closed'
),
expenses as (
    select period, team_id, cost_center, legal_entity, buyer, currency, accrues, 'expense' as role, activity, gl_account, sum(cents)::hugeint as cents
    from due
    group by all
    having sum(cents) <> 0
),
entries as (
    select period, team_id, cost_center, legal_entity, buyer, currency, accrues, sum(cents)::hugeint as cents
    from expenses
    group by all
),
sides as (
    select *, legal_entity as books, case when buyer <> legal_entity then buyer end as partner_entity, 1 as side from expenses
    union all by name
    select
        e.* exclude (cents), e.legal_entity as books, e.buyer as partner_entity, 'due_to' as role, a.due_to as gl_account, -e.cents as cents, 2 as side
    from entries e
    cross join policy_journal_accounts a
    where e.buyer <> e.legal_entity
    union all by name
    select
        e.* exclude (cents), e.buyer as books, e.legal_entity as partner_entity, 'due_from' as role, a.due_from as gl_account, e.cents, 3 as side
    from entries e
    cross join policy_journal_accounts a
    where e.buyer <> e.legal_entity
    union all by name
    select
        e.* exclude (cents), e.buyer as books, case when e.buyer <> e.legal_entity then e.legal_entity end as partner_entity,
        if(e.accrues, 'accrued', 'recovery') as role, if(e.accrues, a.accrued, a.recovery) as gl_account, -e.cents as cents, 4 as side
    from entries e
    cross join policy_journal_accounts a
),
numbered as (
    select
        s.*,
        dense_rank() over (
            partition by s.period, s.accrues order by s.legal_entity, s.cost_center nulls last, s.team_id, s.buyer <> s.legal_entity, s.buyer, s.currency
        ) as number
    from sides s
    where s.cents <> 0
),
posted as (
    select *, 'post' as way from numbered
    union all
    select * replace (-cents as cents), 'reverse' as way from numbered where accrues
),
drafts as (
    select
        n.period, 0::integer as version,
        format('APN{}-{}-{:04d}', right(replace(n.period, '-', ''), 4), case when n.way = 'reverse' then 'R' when n.accrues then 'A' else 'D' end, n.number) as je_id,
        row_number() over (partition by n.period, n.accrues, n.way, n.number order by n.side, n.activity, n.gl_account)::integer as line_no,
        case when n.way = 'reverse' then p.ends_on else p.ends_on - 1 end::date as posting_date,
        n.books as legal_entity, n.partner_entity,
        case when n.way = 'reverse' then 'reversal' when n.accrues then 'accrual' when n.buyer <> n.legal_entity then 'intercompany'
            when p.version > 0 then 'correction' else 'chargeback' end as kind,
        n.role, n.currency, n.gl_account,
        case when n.role = 'expense' then n.cost_center when n.role = 'recovery' then coalesce(r.cost_center, h.cost_center) end as cost_center,
        n.team_id, n.activity,
        (greatest(n.cents, 0)::decimal(38, 0) * 0.01::decimal(2, 2))::decimal(18, 2) as debit,
        (greatest(-n.cents, 0)::decimal(38, 0) * 0.01::decimal(2, 2))::decimal(18, 2) as credit,
        case n.role
            when 'expense' then concat_ws(' ', 'AI', activity_said(n.activity), n.period)
            when 'recovery' then concat_ws(' ', 'AI recovery from', n.team_id, n.cost_center, n.period)
            when 'accrued' then concat_ws(' ', 'AI accrued for', n.team_id, n.cost_center, n.period)
            when 'due_to' then concat_ws(' ', 'AI cost due to', n.buyer, n.period)
            else concat_ws(' ', 'AI cost due from', n.legal_entity, n.period) end as line_memo,
        concat_ws(' ', 'AI', case when n.way = 'reverse' then 'accrual reversal' when n.accrues then 'accrual' when p.version > 0 then 'correction'
            else 'chargeback' end, n.period, coalesce(t.name, n.team_id), n.cost_center, p.fiscal_period) as header_memo,
        concat_ws('-', 'APN', n.period, n.team_id, n.cost_center, 'draft') as reference,
        case when n.accrues and n.way = 'post' then p.ends_on end::date as reversal_date
    from posted n
    join periods p on p.period = n.period
    left join policy_teams t on t.team_id = n.team_id
    left join policy_recovery_centers r on r.legal_entity = n.books
    left join centers h on h.period = n.period and h.legal_entity = n.books
)
select * from drafts
union all by name
select * from booked_journal_lines
