-- Table activity_by_minute: how many events there were in each minute, once the
-- watermark has closed it. A set of ids, since an event may come twice.
SELECT book_id, to_date(window.start) AS day, window.start AS window_start, event_type,
    CAST(size(collect_set(event_id)) AS BIGINT) AS events
FROM on_time_events
GROUP BY window(event_time, '1 minute'), book_id, event_type
