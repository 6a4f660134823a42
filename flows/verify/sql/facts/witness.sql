-- The way from the root of a proof down its path: what stands at each step. The steps up to the number of indices stand on the blocks of
-- witness nodes; the step behind them is what the path leads to, which must be the event's prev. This is the first step of each way, and
-- witness_step.sql is each further one: a recursive query would keep all witness nodes in memory.
CREATE TABLE node_link AS
SELECT l.node, l.place, l.cid, n.rowid AS next_node
FROM (SELECT rowid AS node, generate_subscripts(links, 1) - 1 AS place, unnest(links) AS cid FROM block_node) l
LEFT JOIN block_node n ON n.multihash = multihash(l.cid);

CREATE TABLE way AS
SELECT
    e.id,
    hash(e.cid) AS event,
    p.root AS cid,
    n.rowid AS node,
    list_transform(string_split(e.path, '/'), LAMBDA part: CASE WHEN regexp_full_match(part, '[0-9]{1,9}') THEN part::BIGINT END) AS indices
FROM event e
JOIN block_proof p ON p.multihash = multihash(e.proof)
LEFT JOIN block_node n ON n.multihash = multihash(p.root)
WHERE e.kind = 'time' AND NOT (p.root = e.prev AND e.path = '');

CREATE TABLE witness AS
SELECT id, event, cid, FALSE AS is_behind FROM way;
