-- Table funnel: which visitors opened a description, read it for 10 seconds or more,
-- and bought the book. Openings and purchases at once, late ones too; reads once it is
-- known how long they took. Spark reads the topic once for each half, and counts both
-- among the rows that it has read.
SELECT book_id, to_date(event_time) AS day,
    CASE event_type WHEN 'description_open' THEN 'opened' ELSE 'bought' END AS stage,
    user_id
FROM windowed_events
WHERE event_type IN ('description_open', 'purchase')
UNION ALL
SELECT book_id, to_date(opened_at) AS day, 'read' AS stage, user_id
FROM openings
WHERE closed_at >= opened_at + INTERVAL '10' SECOND
