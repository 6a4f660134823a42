-- Undelivered events that the node could serve, and that a run delivers: it leaves a time event
-- whose path has more than 1,024 indices, since no tree of events is so deep. `is_reached`: it can
-- be delivered, because it is an init event or its parent is delivered. `up`: the undelivered
-- parent for which it waits. With neither, its parent is not there, can't be served, or is of
-- another stream.
CREATE TABLE climb AS
WITH waiting AS (
    SELECT e.id, e.kind FROM event e ANTI JOIN fault USING (id)
    WHERE NOT e.is_delivered AND e.kind IS NOT NULL
    AND NOT coalesce(length(e.path) - length(replace(e.path, '/', '')) >= 1024, FALSE)
)
SELECT
    w.id,
    w.kind IN ('init', 'unsigned init')
    OR coalesce(c.is_parent_delivered AND c.stream = c.parent_stream, FALSE) AS is_reached,
    CASE WHEN NOT c.is_parent_delivered AND c.stream = c.parent_stream THEN p.id END AS up
FROM waiting w
LEFT JOIN child c ON c.id = w.id
LEFT JOIN waiting p ON p.id = c.parent;
