-- The events as queries with windows of event time read them: in larger micro-batches
-- than others, see job.go.
SELECT event_id, event_type, event_time, user_id, book_id, on_time
FROM valid_events
