-- The events that are counted in windows of event time. The view has a watermark, which
-- SQL cannot say: see job.go.
SELECT event_id, event_type, event_time, user_id, book_id
FROM windowed_events
WHERE on_time
