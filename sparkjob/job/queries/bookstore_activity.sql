-- Topic bookstore_activity: the same counts so far, each time that they grow. Key and
-- value are those of schema.Activity.
WITH counts AS (
    SELECT date_format(window.start, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'") AS window_start, book_id, event_type,
        size(collect_set(event_id)) AS events
    FROM on_time_events
    GROUP BY window(event_time, '1 minute'), book_id, event_type
)
SELECT concat_ws('|', window_start, event_type, book_id) AS key,
    to_json(struct(window_start, book_id, event_type, events)) AS value
FROM counts
