-- Every block that a delivered event needs is listed for that event.
SELECT e.cid, e.number, f.cid AS related, f.detail, e.was_delivered AS in_baseline
FROM fault f
JOIN event e USING (id)
WHERE f.fault = 'unlisted' AND e.is_delivered;
