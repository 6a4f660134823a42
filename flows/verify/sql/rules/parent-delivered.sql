-- The prev of a delivered event is delivered.
SELECT
    e.cid,
    e.number,
    e.prev AS related,
    CASE
        WHEN c.parent IS NULL THEN 'prev is not in the database'
        ELSE 'prev is not delivered'
    END AS detail,
    e.was_delivered AS in_baseline
FROM child c
JOIN event e USING (id)
WHERE e.is_numbered AND NOT c.is_parent_numbered;
