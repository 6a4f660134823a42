-- Every block that a delivered event needs is in the database.
SELECT e.cid, e.number, f.cid AS related, f.detail, e.was_delivered AS in_baseline
FROM fault f
JOIN event e USING (id)
WHERE f.fault = 'missing' AND e.is_delivered;
