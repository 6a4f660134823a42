-- Every block that a delivered event needs can be read as what it is needed for.
SELECT e.cid, e.number, f.cid AS related, f.detail, e.was_delivered AS in_baseline
FROM fault f
JOIN event e USING (id)
WHERE f.fault = 'unreadable' AND e.is_delivered;
