-- One step further down each way, as far as there are indices in its path and witness nodes with such links.
CREATE OR REPLACE TABLE way AS
SELECT w.id, w.event, l.cid, l.next_node AS node, w.indices[2:] AS indices
FROM way w
JOIN node_link l ON l.node = w.node AND l.place = w.indices[1];

INSERT INTO witness
SELECT id, event, cid, indices = [] FROM way;
