-- Each opening of a description, with the closing that came next of the same visitor
-- and book. The opening was never closed where another one comes next, or nothing for
-- 10 minutes. The only place where that is decided.
--
-- What a visitor does with a book is put in order once nothing can be added to it any
-- more, at the end of a session window. A set, since an event may come twice; of two
-- steps at the same time false, the opening, comes first.
WITH visits AS (
    SELECT user_id, book_id,
        array_sort(collect_set(struct(event_time AS at, event_type = 'description_close' AS closes))) AS steps
    FROM on_time_events
    WHERE event_type IN ('description_open', 'description_close')
    GROUP BY session_window(event_time, '10 minutes'), user_id, book_id
)
SELECT user_id, book_id,
    step.at AS opened_at,
    CASE WHEN get(steps, i + 1).closes THEN get(steps, i + 1).at END AS closed_at
FROM visits
LATERAL VIEW posexplode(steps) AS i, step
WHERE NOT step.closes
