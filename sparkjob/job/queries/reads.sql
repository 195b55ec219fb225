-- Table reads: each opening of a description, and how long it was read.
SELECT book_id, to_date(opened_at) AS day, opened_at, user_id, closed_at,
    (unix_millis(closed_at) - unix_millis(opened_at)) / 1000D AS seconds
FROM openings
