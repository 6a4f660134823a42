-- The tables of what is read from the SQLite files and the log. What blocks can be is in the tables
-- `block_*` (flows.verify.readings).

-- One row for each row of `ceramic_one_event`. `number` is `delivered`; it is null, and
-- `is_no_integer` true, for a value of another type. `has_event_id`: whether `order_key` is one.
CREATE TABLE stored_event (
    id BIGINT, cid BLOB, number BIGINT, is_no_integer BOOLEAN, has_event_id BOOLEAN
);

-- `ceramic_one_event_block`: which blocks are listed for which event, by the hashes of the event's
-- CID and of the block's CID (from `codec` and `block_multihash`). Among a billion rows two have
-- the same 128 bits, so that a missing row is overlooked, with a chance of 10^-20. `is_root_wrong`:
-- the block is flagged as root and is not, or is not flagged and is, or the flag is no number.
-- `is_unreadable`: a node can't read the codec or the multihash.
CREATE TABLE listed (event UBIGINT, block UBIGINT, is_root_wrong BOOLEAN, is_unreadable BOOLEAN);

-- Rows of `ceramic_one_block` whose bytes do not have the hash that their multihash names (only
-- with --hashes).
CREATE TABLE wrong_hash (id BIGINT, multihash BLOB, detail VARCHAR);

-- The events of the baseline (only with --baseline).
CREATE TABLE baseline_event (
    id BIGINT, cid BLOB, number BIGINT, is_no_integer BOOLEAN, has_event_id BOOLEAN
);

-- Values of `delivered` that are neither an integer nor null, as SQL text, by the rowid of their
-- event: of the database, and of its baseline (both only with --baseline).
CREATE TABLE other_number (id BIGINT, value VARCHAR);
CREATE TABLE baseline_other_number (id BIGINT, value VARCHAR);

-- Rows that differ from the baseline in anything but `delivered`. `id` and `cid` are null where a
-- table has none.
CREATE TABLE change (table_name VARCHAR, id BIGINT, cid BLOB, detail VARCHAR);

-- One row: which of the optional inputs there are.
CREATE TABLE given (baseline BOOLEAN, log BOOLEAN, hashes BOOLEAN);

-- The rows of the log in their place, from 0 on (only with --log).
CREATE TABLE log (
    number BIGINT, cid BLOB, stream BLOB, prev BLOB, kind VARCHAR, id BIGINT, place BIGINT
);

-- The events that the log lists as undelivered, and in which list (only with --log).
CREATE TABLE log_left (id BIGINT, cid BLOB, reason VARCHAR, list VARCHAR);

-- What the document of the log says, and what its files hold (only with --log). `log_said` is empty
-- where a replay verifies the log before it writes the document.
CREATE TABLE log_said (what VARCHAR, value VARCHAR);
CREATE TABLE log_found (what VARCHAR, value VARCHAR);
