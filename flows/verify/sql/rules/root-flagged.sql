-- The list of blocks of a delivered event flags the event's root block, and no other.
SELECT e.cid, e.number, f.cid AS related, f.detail, e.was_delivered AS in_baseline
FROM fault f
JOIN event e USING (id)
WHERE f.fault = 'root' AND e.is_delivered;
