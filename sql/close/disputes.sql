-- Every dispute of statement lines, and what became of it. An accepted one is a charge of zero: minus on the team that
-- disputed, plus on the team that carries it instead.
-- grain: dispute_id
--   period: month whose statement is disputed
--   version: version of the statement; 0 for a draft
--   line_ids: the lines, by id
--   line_nos: the lines, as numbered on the statement that was seen
--   amount: what is disputed, in whole cents of the statement's currency
--   reason_code: wrong_team, wrong_rate, duplicate, not_ours, allocation_basis or other
--   reason: what is wrong, in the words of who opened it
--   opened_by: who opened it
--   resolved_by: who resolved it
--   resolved_on: day as of which it was resolved
--   opened_on: day as of which the statement was published
--   holds_until: last day on which it holds up the close of its month while nobody decides
--   state: open, accepted, rejected or withdrawn
--   resolution: what was said when it was resolved
--   to_team_id: who carries an accepted dispute's amount
--   adjustment_charge_id: the charge that moves it
--   adjustment_period: the month in which that charge is booked
select
    d.dispute_id, d.period, d.version, d.team_id, d.cost_center, d.legal_entity, d.statement_id, d.line_ids, d.line_nos,
    d.amount::decimal(18, 2) as amount, d.currency, d.reason_code, d.reason, d.opened_by, d.opened_on, d.holds_until, d.state,
    d.resolved_by, d.resolved_on, d.resolution, a.to_team_id, a.charge_id as adjustment_charge_id, c.period as adjustment_period
from dispute_entries d
left join accepted_disputes a on a.dispute_id = d.dispute_id
left join charges c on c.charge_id = a.charge_id
