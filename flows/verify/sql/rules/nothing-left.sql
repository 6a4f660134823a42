-- No event is undelivered that the node could serve and whose chain of prevs leads, through such
-- events, to a delivered event or an init event.
SELECT
    e.cid,
    NULL::BIGINT AS number,
    e.prev AS related,
    'can be delivered' AS detail,
    FALSE AS in_baseline
FROM climb
JOIN event e USING (id)
WHERE climb.is_reached;
