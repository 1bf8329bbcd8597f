-- Which alert goes to which channel of alerts.yaml, and when it did. One that waits is sent by the next night, as long as it is open.
-- grain: alert_id, channel
--   alert_id: which alert
--   channel: its name in alerts.yaml
--   recipient: the owner's address, where the channel writes to owners; NULL for whom the channel itself names
--   sent_on: the night that sent it; NULL while it waits
with routes as (
    select distinct a.alert_id, c.channel_id as channel, case when c.to_owner then a.owner_mail end as recipient
    from alerts a
    join policy_channels c on c.action = a.action and coalesce(c.kind = a.kind, true)
        and a.raised_on >= c.valid_from and a.raised_on < c.valid_to
    where a.state = 'open' or exists (from alerts_sent s where s.alert_id = a.alert_id and s.channel = c.channel_id)
)
select r.alert_id, r.channel, r.recipient, min(s.night) as sent_on
from routes r
left join alerts_sent s on s.alert_id = r.alert_id and s.channel = r.channel
group by all
