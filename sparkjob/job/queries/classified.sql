-- Every record of the topic, taken apart, with the reason why it is no event, or
-- NULL where it is one. The only place where that is decided: the queries behind
-- read this view. schema.Decode gives the same reasons in the same words.
--
-- The value is parsed as the one element of an array, since from_json alone would
-- pass over whatever follows the first JSON value. And it is parsed in a LATERAL
-- VIEW, since the optimizer would otherwise copy the parsing into every use of it.
WITH parsed AS (
    SELECT topic, partition, offset, timestamp, value, CAST(value AS STRING) AS json, events
    FROM kafka_records
    LATERAL VIEW explode(array(from_json(
        concat('[', CAST(value AS STRING), ']'),
        'array<struct<event_id: string, event_type: string, event_time: string, user_id: string, book_id: string>>',
        map('allowSingleQuotes', 'false', 'allowNonNumericNumbers', 'false')
    ))) AS events
),
fields AS (
    SELECT topic, partition, offset, timestamp, value, json,
        size(events) = 1 AND events[0] IS NOT NULL AS is_object,
        events[0].event_id AS event_id,
        events[0].event_type AS event_type,
        events[0].event_time AS time_text,
        events[0].user_id AS user_id,
        events[0].book_id AS book_id
    FROM parsed
),
-- What is parsed a second time. In a LATERAL VIEW, too: once for each row, and apart from
-- what is below it, which Spark could not compile together with from_json.
typed AS (
    SELECT fields.*, again.*
    FROM fields
    LATERAL VIEW inline(array(struct(
        -- Without its Z the time is one of the session's zone, which is UTC. With it Spark
        -- would look the zone up for each row, by a regular expression that it compiles anew.
        try_cast(trim(TRAILING 'Z' FROM upper(time_text)) AS TIMESTAMP) AS event_time,
        -- from_json reads a number, boolean, object or array as its text. Where a text
        -- looks like one, it is parsed again as such: only what is no JSON string succeeds.
        CASE
            WHEN user_id RLIKE '^-?[0-9]' THEN from_json(json, 'user_id double').user_id IS NOT NULL
            WHEN user_id IN ('true', 'false') THEN from_json(json, 'user_id boolean').user_id IS NOT NULL
            WHEN user_id LIKE '{%' THEN from_json(json, 'user_id map<string, string>').user_id IS NOT NULL
            WHEN user_id LIKE '[%' THEN from_json(json, 'user_id array<string>').user_id IS NOT NULL
        END AS user_id_is_no_string,
        CASE
            WHEN book_id RLIKE '^-?[0-9]' THEN from_json(json, 'book_id double').book_id IS NOT NULL
            WHEN book_id IN ('true', 'false') THEN from_json(json, 'book_id boolean').book_id IS NOT NULL
            WHEN book_id LIKE '{%' THEN from_json(json, 'book_id map<string, string>').book_id IS NOT NULL
            WHEN book_id LIKE '[%' THEN from_json(json, 'book_id array<string>').book_id IS NOT NULL
        END AS book_id_is_no_string
    ))) again
),
-- What is wrong with the record, and with each field if it is an object: NULL for nothing.
problems AS (
    SELECT *,
        CASE
            WHEN value IS NULL THEN 'the record has no value'
            WHEN octet_length(value) > 65536 THEN 'the payload has more than 65536 bytes'
            WHEN decode(value, 'UTF-8') <> json THEN 'the payload is not valid UTF-8'
            WHEN NOT coalesce(is_object, false) THEN 'the payload is not a JSON object'
        END AS record_problem,
        CASE
            WHEN coalesce(event_id, '') = '' THEN 'event_id is missing or empty'
            WHEN event_id NOT RLIKE r'\A[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\z'
                THEN 'event_id is not a UUID'
        END AS event_id_problem,
        CASE
            WHEN coalesce(event_type, '') = '' THEN 'event_type is missing or empty'
            WHEN event_type NOT IN ('description_open', 'description_close', 'purchase')
                THEN 'event_type is not description_open, description_close or purchase'
        END AS event_type_problem,
        CASE
            WHEN coalesce(time_text, '') = '' THEN 'event_time is missing or empty'
            WHEN event_time IS NULL
                OR time_text NOT RLIKE r'\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})\z'
                THEN 'event_time is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z'
        END AS event_time_problem,
        CASE
            WHEN coalesce(user_id, '') = '' THEN 'user_id is missing or empty'
            WHEN user_id_is_no_string THEN 'user_id is not a string'
            WHEN char_length(user_id) > 64 THEN 'user_id has more than 64 characters'
        END AS user_id_problem,
        CASE
            WHEN coalesce(book_id, '') = '' THEN 'book_id is missing or empty'
            WHEN book_id_is_no_string THEN 'book_id is not a string'
            WHEN char_length(book_id) > 64 THEN 'book_id has more than 64 characters'
        END AS book_id_problem
    FROM typed
)
SELECT topic, partition, offset,
    timestamp AS received_at,
    value AS payload,
    event_id, event_type, event_time, user_id, book_id,
    coalesce(record_problem, nullif(concat_ws('; ', event_id_problem, event_type_problem, event_time_problem, user_id_problem, book_id_problem), '')) AS reason,
    -- Spark finds this out without putting the words of a reason together.
    record_problem IS NULL AND event_id_problem IS NULL AND event_type_problem IS NULL
        AND event_time_problem IS NULL AND user_id_problem IS NULL AND book_id_problem IS NULL AS is_event
FROM problems
