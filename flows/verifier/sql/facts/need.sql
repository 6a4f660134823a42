-- Every block that the node loads to serve an event, as far as its other blocks tell.
CREATE VIEW need AS
SELECT id, 'root' AS role, cid, root AS multihash FROM event
UNION ALL
SELECT id, 'payload', payload, multihash(payload) FROM event WHERE payload IS NOT NULL
UNION ALL
SELECT id, 'capability', capability, multihash(capability) FROM event WHERE capability IS NOT NULL
UNION ALL
SELECT id, 'proof', proof, multihash(proof) FROM event WHERE kind = 'time'
UNION ALL
SELECT id, 'witness node', cid, multihash(cid) FROM witness WHERE NOT is_behind AND cid IS NOT NULL;

-- Needed blocks that can't be read as what they are needed for, because they are missing or because of what they hold.
CREATE TABLE unfit AS
SELECT n.* FROM need n JOIN event e USING (id) WHERE n.role = 'root' AND e.kind IS NULL AND e.payload IS NULL
UNION ALL
SELECT n.* FROM need n JOIN event e USING (id) WHERE n.role = 'payload' AND e.kind IS NULL
UNION ALL
SELECT n.* FROM need n ANTI JOIN block_capability USING (multihash) WHERE n.role = 'capability'
UNION ALL
SELECT n.* FROM need n ANTI JOIN block_proof USING (multihash) WHERE n.role = 'proof'
UNION ALL
SELECT n.* FROM need n ANTI JOIN block_node USING (multihash) WHERE n.role = 'witness node';
