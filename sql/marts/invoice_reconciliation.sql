-- Every invoice document against the lines of the bill: totals, with the lines of others on a shared bill.
-- Lines that name an invoice meet that document, lines that name none what is left of their account's month.
-- grain: period, provider, billing_account_id, invoice_id, billing_currency
--   period: the vendor's invoice month
--   invoice_id: NULL where neither side names one; several documents of one month are listed together
--   issued_on: date on the document; NULL without one
--   invoice_amount: the document's total, tax included; NULL without a document
--   invoice_tax: tax within invoice_amount
--   lines_cost: what the bill's lines add up to, with those that are not ours; NULL without lines
--   lines_tax: tax lines within lines_cost
--   out_of_scope_cost: lines within lines_cost that are not ours
--   tax_beside: tax on the document that a bill without tax lines cannot have
--   difference: invoice_amount less lines_cost and tax_beside
--   state: matched (to the cent), rounding (within close.yaml's invoice_amount), differs, bill_missing (a document without lines),
--     invoice_missing (lines without a document), not_due (the vendor's month is not final yet),
--     begins_earlier (the vendor's month began before the first period: only its later lines are here)
with lines as (
    select
        billing_period, provider, billing_account_id, invoice_id, billing_currency,
        sum(billed_cost)::decimal(38, 12) as cost,
        coalesce(sum(billed_cost) filter (charge_category = 'Tax'), 0)::decimal(38, 12) as tax,
        coalesce(sum(billed_cost) filter (not in_scope), 0)::decimal(38, 12) as out_of_scope
    from bill_lines
    group by all
    having sum(abs(billed_cost)) > 0
),
documents as (
    select
        d.billing_period, d.provider, d.billing_account_id, l.invoice_id, d.billing_currency,
        string_agg(distinct d.invoice_id, ', ' order by d.invoice_id) as invoice_ids,
        max(d.issued_on) as issued_on,
        sum(d.invoice_amount)::decimal(38, 12) as amount,
        sum(d.invoice_tax)::decimal(38, 12) as tax
    from invoices d
    left join (select distinct billing_period, provider, billing_account_id, invoice_id from lines) l
        on l.billing_period = d.billing_period and l.provider = d.provider and l.billing_account_id = d.billing_account_id
        and l.invoice_id = d.invoice_id
    group by all
),
final_days as (
    select provider, max(final_after_days) as final_after_days
    from policy_billing
    group by all
),
compared as (
    select
        coalesce(d.billing_period, l.billing_period) as period,
        coalesce(d.provider, l.provider) as provider,
        coalesce(d.billing_account_id, l.billing_account_id) as billing_account_id,
        coalesce(d.invoice_ids, l.invoice_id) as invoice_id,
        coalesce(d.billing_currency, l.billing_currency) as billing_currency,
        d.issued_on,
        d.amount as invoice_amount, d.tax as invoice_tax,
        l.cost as lines_cost, l.tax as lines_tax, l.out_of_scope as out_of_scope_cost,
        case when l.tax = 0 then d.tax else 0 end::decimal(38, 12) as tax_beside
    from documents d
    full join lines l on l.billing_period = d.billing_period and l.provider = d.provider and l.billing_account_id = d.billing_account_id
        and l.billing_currency = d.billing_currency and l.invoice_id is not distinct from d.invoice_id
),
judged as (
    select
        c.*,
        (c.invoice_amount - c.lines_cost - c.tax_beside)::decimal(38, 12) as difference,
        (c.period || '-01')::date + interval 1 month + to_days(coalesce(f.final_after_days, 0)::integer) as due_on,
        t.invoice_amount as tolerance
    from compared c
    left join final_days f on f.provider = c.provider
    join policy_tolerances t on (t.provider is null or t.provider = c.provider)
        and (c.period || '-01')::date >= t.valid_from and (c.period || '-01')::date < t.valid_to
    qualify t.ord = min(t.ord) over (partition by c.period, c.provider, c.billing_account_id, c.invoice_id, c.billing_currency, c.invoice_amount is null, c.lines_cost is null)
)
select
    period, provider, billing_account_id, invoice_id, billing_currency, issued_on, invoice_amount, invoice_tax, lines_cost, lines_tax,
    out_of_scope_cost, tax_beside, difference,
    case
        when lines_cost is null then 'bill_missing'
        when invoice_amount is null then if(due_on > $through, 'not_due', 'invoice_missing')
        when abs(difference) <= 0.005 then 'matched'
        when abs(difference) <= tolerance then 'rounding'
        when (period || '-01')::date < (select min(starts_on) from periods) then 'begins_earlier'
        else 'differs'
    end as state
from judged
