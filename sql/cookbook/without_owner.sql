-- What has no owner yet, and by which name could it get one? The keys, principals, projects and files of calls that no team is known for,
-- and the vendors' projects and keys on the bills that belong to nobody: name them under `belongs` in teams.yaml.
with calls as (
    select
        'calls' as seen_in, source, api_key_id, principal, inference_profile, sub_account_id, project_id, model,
        count(*) as rows_seen, sum(coalesce(contracted_cost, list_cost))::decimal(18, 2) as cost,
        min(source_file) as example_file, arg_min(source_row, source_file) as example_row
    from usage_events
    where team_id = 'unallocated'
    group by all
),
lines as (
    select
        charge_id, any_value(source) as source, any_value(sub_account_id) as sub_account_id, any_value(model) as model,
        count(distinct (source_file, source_row)) as rows_seen, min(source_file) as example_file, arg_min(source_row, source_file) as example_row
    from bill_lines
    group by all
),
billed as (
    select
        'bills' as seen_in, b.source, b.sub_account_id, b.model,
        sum(b.rows_seen)::bigint as rows_seen, sum(l.cost)::decimal(18, 2) as cost,
        min(b.example_file) as example_file, arg_min(b.example_row, b.example_file) as example_row
    from (select charge_id, sum(chargeback_cost) as cost from ledger where team_id = 'unallocated' and portion <> 'metered' group by all) l
    join lines b on b.charge_id = l.charge_id
    group by all
)
from calls
union all by name
from billed
order by cost desc nulls last, seen_in, source;
