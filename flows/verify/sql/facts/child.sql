-- Each event that has a parent, with that parent; the parent's columns are null if it is not in the
-- database.
CREATE TABLE child AS
SELECT
    e.id,
    e.stream,
    p.id AS parent,
    p.number AS parent_number,
    p.stream AS parent_stream,
    coalesce(p.is_numbered, FALSE) AS is_parent_numbered,
    coalesce(p.is_delivered, FALSE) AS is_parent_delivered
FROM event e
LEFT JOIN event p ON p.cid = e.prev
WHERE e.prev IS NOT NULL;
