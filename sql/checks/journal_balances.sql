-- Every journal entry has equal debits and credits in each legal entity and currency, and what one entity owes another is what the
-- other claims. severity: fail
select period, version, je_id, legal_entity, currency, sum(debit) as debit, sum(credit) as credit
from journal_lines
group by all
having sum(debit) <> sum(credit)
union all
select period, version, je_id, min(legal_entity), currency, sum(debit), sum(credit)
from journal_lines
where role in ('due_to', 'due_from')
group by period, version, je_id, currency, least(legal_entity, partner_entity), greatest(legal_entity, partner_entity)
having sum(debit) <> sum(credit)
