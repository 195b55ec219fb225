-- Table events: every record that is an event, with its five fields.
SELECT event_id, event_type, event_time, user_id, book_id
FROM valid_events
