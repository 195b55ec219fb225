-- Table events_by_user: every event once more, for the visitor whose it is.
SELECT user_id, to_date(event_time) AS day, event_time, event_id, event_type, book_id
FROM valid_events
