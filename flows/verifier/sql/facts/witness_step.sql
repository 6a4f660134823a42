-- One step further down each way, as far as there are indices in its path and witness nodes to read.
CREATE OR REPLACE TABLE way AS
SELECT w.id, w.event, n.links[w.indices[1] + 1] AS cid, w.indices[2:] AS indices
FROM way w
JOIN block_node n ON n.multihash = multihash(w.cid)
WHERE w.indices <> [];

INSERT INTO witness
SELECT id, event, cid, indices = [] FROM way;
