-- What is read from the SQLite files, before anything is concluded from it. The readings of blocks are `block_*` (flows.verify.blocks).

-- One row for each row of `ceramic_one_event`. `number` is `delivered`; it is null, and `is_no_integer` true, for a value of another type.
CREATE TABLE stored_event (id BIGINT, cid BLOB, number BIGINT, is_no_integer BOOLEAN);

-- `ceramic_one_event_block`: which blocks are listed for which event, by the hashes of the event's CID and of the block's multihash. That
-- two pairs of a billion have the same 128 bits, so that a missing row is not missed, has a chance of 10^-20.
CREATE TABLE listed (event UBIGINT, block UBIGINT);

-- Rows of `ceramic_one_block` whose bytes do not have the hash that their multihash names (only with --hashes).
CREATE TABLE wrong_hash (id BIGINT, multihash BLOB, detail VARCHAR);

-- The events of the baseline (only with --baseline).
CREATE TABLE baseline_event (id BIGINT, cid BLOB, number BIGINT, is_no_integer BOOLEAN);

-- Rows that are not what they were in the baseline; `delivered` is not looked at. `id` and `cid` are null where a table has none.
CREATE TABLE change (table_name VARCHAR, id BIGINT, cid BLOB, detail VARCHAR);

-- One row: which of the optional inputs there are.
CREATE TABLE given (baseline BOOLEAN, log BOOLEAN, hashes BOOLEAN);

-- The rows of the log (only with --log).
CREATE TABLE log (number BIGINT, cid BLOB, stream BLOB, prev BLOB, kind VARCHAR, id BIGINT);
