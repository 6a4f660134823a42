-- The prev of a delivered event is of the same stream.
SELECT
    e.cid,
    e.number,
    e.prev AS related,
    'prev is of another stream' AS detail,
    e.was_delivered AS in_baseline
FROM child c
JOIN event e USING (id)
WHERE e.is_delivered AND c.stream <> c.parent_stream;
