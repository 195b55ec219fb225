-- Table rejected_events: every record that is none, with the reason and its bytes.
-- All of the key comes from Kafka, so a record read twice is the same row.
SELECT to_date(received_at) AS day, topic, partition, offset, reason, payload, received_at
FROM classified
WHERE NOT is_event
