-- Records as they come from Kafka, made up from a counter. Without a partition, so that each
-- gets some of them if they go there.
SELECT 'warm-up' AS topic, CAST(NULL AS INT) AS partition, value AS offset, timestamp,
    CAST(concat(
        '{"event_id":"00000000-0000-4000-8000-', lpad(hex(value), 12, '0'),
        '","event_type":"', element_at(array('description_open', 'description_close', 'purchase'), 1 + CAST(value % 3 AS INT)),
        '","event_time":"', date_format(timestamp, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"),
        '","user_id":"visitor-', value % 1000,
        '","book_id":"frankenstein"}'
    ) AS BINARY) AS value
FROM ticks
