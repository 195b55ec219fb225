-- Table late_events: every event that is missing in the windows of event time.
SELECT book_id, to_date(event_time) AS day, event_time, event_id, event_type, user_id, received_at
FROM valid_events
WHERE NOT on_time
