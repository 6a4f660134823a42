-- The way from the root of a proof down its path, one row for each step. The steps up to the number of indices stand on the blocks
-- of witness nodes; the step behind them is what the path leads to, which must be the event's prev.
CREATE TABLE witness AS
WITH RECURSIVE way AS (
    SELECT
        e.id,
        e.cid AS event_cid,
        1 AS step,
        p.root AS cid,
        e.path,
        length(e.path) - length(replace(e.path, '/', '')) + 1 AS indices
    FROM event e
    JOIN block_proof p ON p.multihash = multihash(e.proof)
    WHERE e.kind = 'time' AND NOT (p.root = e.prev AND e.path = '')
    UNION ALL
    SELECT
        way.id,
        way.event_cid,
        way.step + 1,
        CASE
            WHEN regexp_full_match(split_part(way.path, '/', way.step), '[0-9]{1,9}')
            THEN n.links[split_part(way.path, '/', way.step)::BIGINT + 1]
        END,
        way.path,
        way.indices
    FROM way
    JOIN block_node n ON n.multihash = multihash(way.cid)
    WHERE way.step <= way.indices
)
SELECT id, event_cid, step, cid, step > indices AS is_behind FROM way;
