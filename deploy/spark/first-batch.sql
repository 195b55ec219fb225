-- The first micro-batch of a new cluster: some JSON, as the job's queries read it.
SELECT value, from_json(concat('{"n": "', value, '"}'), 'n STRING').n AS n FROM ticks
