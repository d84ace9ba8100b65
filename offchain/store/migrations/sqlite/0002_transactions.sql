-- Everything signed for the chain, written before any node sees it.

CREATE TABLE transactions (
    chain_id  INTEGER NOT NULL,
    sender    BLOB    NOT NULL CHECK (length(sender) = 20),
    -- names what is wanted; sent at most once
    intent    TEXT    NOT NULL,
    label     TEXT    NOT NULL,
    nonce     INTEGER NOT NULL,
    recipient BLOB    NOT NULL CHECK (length(recipient) = 20),
    data      BLOB    NOT NULL,
    value     BLOB    NOT NULL CHECK (length(value) = 32),
    gas_limit INTEGER NOT NULL,
    open      INTEGER NOT NULL CHECK (open IN (0, 1)),
    -- JSON: where it stands, with the outcome
    state     TEXT    NOT NULL,
    PRIMARY KEY (chain_id, sender, intent)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX transactions_open_nonce ON transactions (chain_id, sender, nonce) WHERE open = 1;

-- Signed forms of a transaction: raised fees make another of the same nonce.
CREATE TABLE transaction_attempts (
    chain_id  INTEGER NOT NULL,
    sender    BLOB    NOT NULL,
    intent    TEXT    NOT NULL,
    position  INTEGER NOT NULL,
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    raw       BLOB    NOT NULL,
    -- wei per gas, 16 bytes big-endian
    max_fee   BLOB    NOT NULL CHECK (length(max_fee) = 16),
    tip       BLOB    NOT NULL CHECK (length(tip) = 16),
    signed_at INTEGER NOT NULL,
    PRIMARY KEY (chain_id, sender, intent, position),
    FOREIGN KEY (chain_id, sender, intent) REFERENCES transactions (chain_id, sender, intent) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX transaction_attempts_by_hash ON transaction_attempts (hash);
