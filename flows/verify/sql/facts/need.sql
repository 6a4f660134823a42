-- Every block that the node loads to serve an event, as far as the event's other blocks name it.
CREATE VIEW need AS
SELECT id, hash(cid) AS event, 'root' AS role, cid, root AS multihash FROM event
UNION ALL
SELECT id, hash(cid), 'payload', payload, payload_multihash FROM event WHERE payload IS NOT NULL
UNION ALL
SELECT id, hash(cid), 'capability', capability, multihash(capability)
FROM event WHERE capability IS NOT NULL
UNION ALL
SELECT id, hash(cid), 'proof', proof, multihash(proof) FROM event WHERE kind = 'time'
UNION ALL
SELECT id, event, 'witness node', cid, multihash(cid)
FROM witness WHERE NOT is_end AND cid IS NOT NULL;

-- Needed blocks that can't be read as what they are needed for, because they are missing or because
-- of what they hold.
CREATE TABLE unfit AS
SELECT id, 'root' AS role, cid, root AS multihash FROM event WHERE kind IS NULL AND payload IS NULL
UNION ALL
SELECT id, 'payload', payload, payload_multihash
FROM event WHERE kind IS NULL AND payload IS NOT NULL
UNION ALL
SELECT n.id, n.role, n.cid, n.multihash
FROM need n ANTI JOIN block_capability b ON b.multihash = n.multihash WHERE n.role = 'capability'
UNION ALL
SELECT n.id, n.role, n.cid, n.multihash
FROM need n ANTI JOIN block_proof b ON b.multihash = n.multihash WHERE n.role = 'proof'
UNION ALL
SELECT n.id, n.role, n.cid, n.multihash
FROM need n ANTI JOIN block_node b ON b.multihash = n.multihash WHERE n.role = 'witness node';
