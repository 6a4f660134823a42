-- The prev of a delivered event has a smaller number.
SELECT
    e.cid,
    e.number,
    e.prev AS related,
    'prev has number ' || c.parent_number AS detail,
    e.was_delivered AS in_baseline
FROM child c
JOIN event e USING (id)
WHERE e.number < c.parent_number;
