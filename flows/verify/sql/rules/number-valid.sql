-- A number is an integer and at least 1.
SELECT
    cid,
    number,
    NULL::BLOB AS related,
    CASE WHEN is_no_integer THEN 'not an integer' ELSE 'below 1' END AS detail,
    was_delivered AS in_baseline
FROM event
WHERE is_no_integer OR number < 1;
