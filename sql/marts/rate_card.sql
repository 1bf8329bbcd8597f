-- The published rate card: what teams pay for what the platform sells, with dates, and what single teams pay instead.
-- grain: line_id, only_team, valid_from
--   rate_card_id: name of the card in rate_card.yaml
--   line_id: line of the card; the ledger names it as rule_id
--   covers: kind of thing that is sold: serving_pool, model, cluster or vector_index
--   covered: the pool, model, cluster or index; all vector indexes where the line names none, with the vendor where only its bill is meant
--   only_team: the team that has this rate of its own; NULL: everybody else
--   unit: what the rate is for
--   rate: in `currency`, for one unit
--   valid_from: first day; NULL: since ever
--   valid_to: first day on which it no longer holds; NULL: no end
--   note: what finance says about the line
with lines as (
    select
        r.*, null::varchar as only_team,
        case r.covers
            when 'model' then r.provider || ' ' || r.model
            when 'vector_index' then coalesce(r.vector_index_id, 'all vector indexes') || coalesce(' on ' || r.provider, '')
            else coalesce(r.serving_pool, r.cluster) end as covered
    from policy_rate_card r
),
everybody as (
    select * from lines
    union all by name
    select l.* replace (
        t.team_id as only_team, t.rate as rate,
        greatest(l.valid_from, t.valid_from) as valid_from, least(l.valid_to, t.valid_to) as valid_to)
    from lines l
    join policy_team_rates t on t.line_id = l.line_id and t.valid_from < l.valid_to and l.valid_from < t.valid_to
)
select
    rate_card_id, line_id, service, covers, covered, only_team, meter, unit, rate, (select currency from policy_company) as currency,
    nullif(valid_from, date '0001-01-01') as valid_from, nullif(valid_to, date '9999-12-31') as valid_to, note
from everybody
