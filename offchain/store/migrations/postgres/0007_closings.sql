-- Processes that take tickets for a recipient. A desk has stored every winner on params that expired by closed_block, and
-- credits no ticket on them any more.
CREATE TABLE desks (
    chain_id     BIGINT NOT NULL,
    broker       BYTEA  NOT NULL CHECK (length(broker) = 20),
    recipient    BYTEA  NOT NULL CHECK (length(recipient) = 20),
    desk         BYTEA  NOT NULL CHECK (length(desk) = 16),
    closed_block BIGINT NOT NULL,
    -- milliseconds since 1970 by the clock of the database
    seen_at      BIGINT NOT NULL,
    PRIMARY KEY (chain_id, broker, recipient, desk)
);

-- The highest key of each pair of accounts that was put into an ordered batch. Nothing at or below it is taken any more.
CREATE TABLE closed_keys (
    chain_id  BIGINT NOT NULL,
    broker    BYTEA  NOT NULL CHECK (length(broker) = 20),
    recipient BYTEA  NOT NULL CHECK (length(recipient) = 20),
    sender    BYTEA  NOT NULL CHECK (length(sender) = 20),
    key       BYTEA  NOT NULL CHECK (length(key) = 32),
    PRIMARY KEY (chain_id, broker, recipient, sender)
);
