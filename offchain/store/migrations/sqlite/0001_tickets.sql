-- Amounts, probabilities and secrets are 32-byte big-endian BLOBs, hashes 32 bytes, addresses 20 bytes: they order by
-- value. Rounds and block numbers are INTEGER.

CREATE TABLE winning_tickets (
    hash                      BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    recipient                 BLOB    NOT NULL CHECK (length(recipient) = 20),
    sender                    BLOB    NOT NULL CHECK (length(sender) = 20),
    face_value                BLOB    NOT NULL CHECK (length(face_value) = 32),
    win_prob                  BLOB    NOT NULL CHECK (length(win_prob) = 32),
    sender_nonce              INTEGER NOT NULL,
    recipient_rand_hash       BLOB    NOT NULL CHECK (length(recipient_rand_hash) = 32),
    creation_round            INTEGER NOT NULL,
    creation_round_block_hash BLOB    NOT NULL CHECK (length(creation_round_block_hash) = 32),
    sig                       BLOB    NOT NULL CHECK (length(sig) = 65),
    recipient_rand            BLOB    NOT NULL CHECK (length(recipient_rand) = 32),
    -- recipient_rand must not become public before this block
    params_expiration_block   INTEGER NOT NULL,

    state        TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'submitted', 'redeemed', 'dead')),
    -- the redemption transaction this ticket is part of (transactions.intent); set exactly while submitted
    intent       TEXT    CHECK ((state = 'submitted') = (intent IS NOT NULL)),
    -- what really moved, which transaction moved it, in which block; set exactly when redeemed
    payout       BLOB    CHECK ((state = 'redeemed') = (payout IS NOT NULL) AND (payout IS NULL OR length(payout) = 32)),
    tx_hash      BLOB    CHECK ((state = 'redeemed') = (tx_hash IS NOT NULL) AND (tx_hash IS NULL OR length(tx_hash) = 32)),
    -- why the last attempt did not pay, or why it never can
    reason       TEXT    CHECK (state <> 'dead' OR reason IS NOT NULL),
    attempts     INTEGER NOT NULL DEFAULT 0,
    -- no new attempt before this block
    not_before   INTEGER NOT NULL DEFAULT 0,
    -- block of the last change of state; for a redeemed ticket the block that paid it
    changed_block INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX winning_tickets_by_state ON winning_tickets (state, creation_round, face_value DESC);
CREATE INDEX winning_tickets_by_sender ON winning_tickets (sender, state);
CREATE INDEX winning_tickets_by_intent ON winning_tickets (intent) WHERE intent IS NOT NULL;

-- Broadcaster: the last nonce signed under each commitment. Pruned once the params have expired.
CREATE TABLE sender_nonces (
    recipient_rand_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(recipient_rand_hash) = 32),
    last_nonce          INTEGER NOT NULL,
    expiration_block    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sender_nonces_by_expiration ON sender_nonces (expiration_block);

-- Every mined redemption, successful or not, for the cost side of the books.
CREATE TABLE redemption_transactions (
    tx_hash             BLOB    NOT NULL PRIMARY KEY CHECK (length(tx_hash) = 32),
    intent              TEXT    NOT NULL,
    block_number        INTEGER NOT NULL,
    success             INTEGER NOT NULL CHECK (success IN (0, 1)),
    tickets             INTEGER NOT NULL,
    gas_used            INTEGER NOT NULL,
    -- wei per gas, 16 bytes big-endian
    effective_gas_price BLOB    NOT NULL CHECK (length(effective_gas_price) = 16)
) STRICT, WITHOUT ROWID;

-- LPT minted by reward(), per orchestrator and round.
CREATE TABLE rewards (
    orchestrator BLOB    NOT NULL CHECK (length(orchestrator) = 20),
    round        INTEGER NOT NULL,
    amount       BLOB    NOT NULL CHECK (length(amount) = 32),
    tx_hash      BLOB    NOT NULL CHECK (length(tx_hash) = 32),
    block_number INTEGER NOT NULL,
    PRIMARY KEY (orchestrator, round)
) STRICT, WITHOUT ROWID;

-- Small named values: the params secret, cursors.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
