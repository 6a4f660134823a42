-- The way from the root of a proof down its path: the CID at each step. There is a step for each
-- index of the path, at a witness node, and one more at its end (`is_end`), where the event's prev
-- must be. This makes the first step of each way, and witness_step.sql each further one: a
-- recursive query would keep all witness nodes in memory.
CREATE TABLE path AS
SELECT
    e.id,
    hash(e.cid) AS event,
    p.root AS cid,
    e.path,
    length(e.path) - length(replace(e.path, '/', '')) < 64 AS is_short
FROM event e
JOIN block_proof p ON p.multihash = multihash(e.proof)
WHERE e.kind = 'time' AND NOT (p.root = e.prev AND e.path = '');

CREATE TABLE witness AS
SELECT id, event, cid, FALSE AS is_end FROM path;

-- An index is a number of at most 64 bits, perhaps with a plus sign and leading zeros.
CREATE TABLE way AS
SELECT id, event, cid, list_transform(
    string_split(path, '/'),
    LAMBDA part: CASE
        WHEN regexp_full_match(part, '\+?[0-9]+') THEN TRY_CAST('0' || ltrim(part, '+0') AS BIGINT)
    END
) AS indices
FROM path
WHERE is_short;

-- Ways that are longer than those of any tree of events: flows.verify.long_paths follows them.
CREATE TABLE long_path AS
SELECT id, event, cid, path FROM path WHERE NOT is_short;
DROP TABLE path;
