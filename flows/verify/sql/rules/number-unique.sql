-- No two events have the same number.
SELECT
    cid,
    number,
    NULL::BLOB AS related,
    'the number of ' || count(*) OVER (PARTITION BY number) || ' events' AS detail,
    was_delivered AS in_baseline
FROM event
SEMI JOIN (SELECT number FROM event GROUP BY number HAVING count(*) > 1) shared USING (number);
