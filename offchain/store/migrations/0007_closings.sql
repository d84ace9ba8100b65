-- Processes that take tickets for a recipient. A desk has stored every winner on params that expired by closed_block, and
-- credits no ticket on them any more.
CREATE TABLE desks (
    chain_id     INTEGER NOT NULL,
    broker       BLOB    NOT NULL CHECK (length(broker) = 20),
    recipient    BLOB    NOT NULL CHECK (length(recipient) = 20),
    desk         BLOB    NOT NULL CHECK (length(desk) = 16),
    closed_block INTEGER NOT NULL,
    -- Unix time by the database's clock, seconds
    seen_at      INTEGER NOT NULL,
    PRIMARY KEY (chain_id, broker, recipient, desk)
) STRICT, WITHOUT ROWID;

-- The highest key of each pair of accounts that was put into an ordered batch. Nothing at or below it is taken any more.
CREATE TABLE closed_keys (
    chain_id  INTEGER NOT NULL,
    broker    BLOB    NOT NULL CHECK (length(broker) = 20),
    recipient BLOB    NOT NULL CHECK (length(recipient) = 20),
    sender    BLOB    NOT NULL CHECK (length(sender) = 20),
    key       BLOB    NOT NULL CHECK (length(key) = 32),
    PRIMARY KEY (chain_id, broker, recipient, sender)
) STRICT, WITHOUT ROWID;
