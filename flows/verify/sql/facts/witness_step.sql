-- One step further down each way, as far as there are indices in its path and witness nodes with
-- such links.
CREATE OR REPLACE TABLE way AS
SELECT id, event, cid, indices
FROM (
    SELECT
        w.id,
        w.event,
        n.links[list_position(n.places, w.indices[1])] AS cid,
        w.indices[2:] AS indices
    FROM way w
    JOIN block_node n ON n.multihash = multihash(w.cid)
)
WHERE cid IS NOT NULL;

INSERT INTO witness
SELECT id, event, cid, indices = [] FROM way;
