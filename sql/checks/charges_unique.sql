-- A charge, and a row of the ledger, exists once. severity: fail
select charge_id as id, count(*) as copies from charges group by all having count(*) > 1
union all
select ledger_id as id, count(*) as copies from ledger group by all having count(*) > 1
