-- The way from the root of a proof down its path: what stands at each step. The steps up to the
-- number of indices stand on the blocks of witness nodes; the step behind them is what the path
-- leads to, which must be the event's prev. This is the first step of each way; witness_step.sql is
-- each further one: a recursive query would keep all witness nodes in memory.
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
SELECT id, event, cid, FALSE AS is_behind FROM path;

-- An index is a number of 64 bits, perhaps with a sign and with zeros in front.
CREATE TABLE way AS
SELECT id, event, cid, list_transform(
    string_split(path, '/'),
    LAMBDA part: CASE
        WHEN regexp_full_match(part, '\+?[0-9]+') THEN TRY_CAST('0' || ltrim(part, '+0') AS BIGINT)
    END
) AS indices
FROM path
WHERE is_short;

-- Longer ways than any tree of events has: flows.verify.long_paths follows them one by one.
CREATE TABLE long_path AS
SELECT id, event, cid, path FROM path WHERE NOT is_short;
DROP TABLE path;
