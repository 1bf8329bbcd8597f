-- Invoice documents that finance landed; of one document the newest delivery counts.
-- grain: provider, billing_account_id, billing_period, invoice_id
--   invoice_amount: the document's total, tax included
--   invoice_tax: tax within invoice_amount
--   issued_on: date on the document
with arrivals as (
    select delivery_id, max(seq) as seq
    from source_files
    where kind = 'invoices' and state = 'landed'
    group by all
)
select
    l.provider, l.billing_account_id, l.billing_period, l.invoice_id, l.currency as billing_currency,
    l.amount as invoice_amount, l.tax as invoice_tax, l.issued_on, l.source_file, l.source_row
from landed_invoices l
join arrivals a on a.delivery_id = l.delivery_id
qualify a.seq = max(a.seq) over (partition by l.provider, l.billing_account_id, l.billing_period, l.invoice_id)
