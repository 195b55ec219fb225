-- Every record that is an event, with when Kafka received it, and whether that is on
-- time: events from slow networks and from clocks that are wrong must neither move the
-- watermark of all others nor be dropped behind it. It is decided here, by the record
-- alone, so that it does not depend on when Spark reads it.
--
-- An event's values are as the tables keep them, so that a copy of it is the same.
SELECT lower(event_id) AS event_id, event_type,
    date_trunc('MILLISECOND', event_time) AS event_time,
    user_id, book_id, received_at,
    event_time BETWEEN received_at - INTERVAL '2' MINUTE AND received_at + INTERVAL '1' MINUTE AS on_time
FROM classified
WHERE is_event
