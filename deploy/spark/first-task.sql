-- The first task of a new cluster: a shuffle and some JSON, as the job's queries do.
SELECT count(DISTINCT from_json(concat('{"n": "', id, '"}'), 'n STRING').n) FROM range(10)
