-- The tables as SQLite has them after its migration 6; a version means the same tables in both engines.
-- Amounts, probabilities and secrets are 32 bytes big-endian, hashes 32, addresses 20: they order by value.
-- Numbers are BIGINT, also those that are only 0 or 1, and texts order by their bytes: as in SQLite.

CREATE TABLE winning_tickets (
    hash                      BYTEA  NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    recipient                 BYTEA  NOT NULL CHECK (length(recipient) = 20),
    sender                    BYTEA  NOT NULL CHECK (length(sender) = 20),
    face_value                BYTEA  NOT NULL CHECK (length(face_value) = 32),
    win_prob                  BYTEA  NOT NULL CHECK (length(win_prob) = 32),
    sender_nonce              BIGINT NOT NULL,
    recipient_rand_hash       BYTEA  NOT NULL CHECK (length(recipient_rand_hash) = 32),
    creation_round            BIGINT NOT NULL,
    creation_round_block_hash BYTEA  NOT NULL CHECK (length(creation_round_block_hash) = 32),
    sig                       BYTEA  NOT NULL CHECK (length(sig) = 65),
    recipient_rand            BYTEA  NOT NULL CHECK (length(recipient_rand) = 32),
    -- recipient_rand must not become public before this block
    params_expiration_block   BIGINT NOT NULL,

    state         TEXT COLLATE "C" NOT NULL DEFAULT 'pending'
                  CHECK (state IN ('pending', 'submitted', 'redeemed', 'dead')),
    -- the redemption transaction this ticket is part of (transactions.intent); set exactly while submitted
    intent        TEXT COLLATE "C" CHECK ((state = 'submitted') = (intent IS NOT NULL)),
    -- what really moved, which transaction moved it, in which block; set exactly when redeemed
    payout        BYTEA CHECK ((state = 'redeemed') = (payout IS NOT NULL) AND (payout IS NULL OR length(payout) = 32)),
    tx_hash       BYTEA CHECK ((state = 'redeemed') = (tx_hash IS NOT NULL) AND (tx_hash IS NULL OR length(tx_hash) = 32)),
    -- why the last attempt did not pay, or why it never can
    reason        TEXT COLLATE "C" CHECK (state <> 'dead' OR reason IS NOT NULL),
    attempts      BIGINT NOT NULL DEFAULT 0,
    -- no new attempt before this block
    not_before    BIGINT NOT NULL DEFAULT 0,
    -- block of the last change of state; for a redeemed ticket the block that paid it
    changed_block BIGINT,
    -- set when a payout was found on chain so deep below the head that no reorganisation is expected to take it back
    payout_final  BIGINT NOT NULL DEFAULT 0 CHECK (payout_final IN (0, 1)),
    -- tag of the chain and contract that a ticket is bound to; NULL in tickets as the deployed network signs them
    deployment    BYTEA CHECK (length(deployment) = 32)
);

CREATE INDEX winning_tickets_by_state ON winning_tickets (state, creation_round, face_value DESC);
CREATE INDEX winning_tickets_by_sender ON winning_tickets (sender, state);
CREATE INDEX winning_tickets_by_intent ON winning_tickets (intent) WHERE intent IS NOT NULL;
CREATE INDEX winning_tickets_to_confirm ON winning_tickets (changed_block) WHERE state = 'redeemed' AND payout_final = 0;

-- Broadcaster: the last nonce signed under each commitment. Pruned once the params have expired.
CREATE TABLE sender_nonces (
    recipient_rand_hash BYTEA  NOT NULL PRIMARY KEY CHECK (length(recipient_rand_hash) = 32),
    last_nonce          BIGINT NOT NULL,
    expiration_block    BIGINT NOT NULL
);

CREATE INDEX sender_nonces_by_expiration ON sender_nonces (expiration_block);

-- Every mined redemption, successful or not, for the cost side of the books.
CREATE TABLE redemption_transactions (
    tx_hash             BYTEA  NOT NULL PRIMARY KEY CHECK (length(tx_hash) = 32),
    intent              TEXT COLLATE "C" NOT NULL,
    block_number        BIGINT NOT NULL,
    success             BIGINT NOT NULL CHECK (success IN (0, 1)),
    tickets             BIGINT NOT NULL,
    gas_used            BIGINT NOT NULL,
    -- wei per gas, 16 bytes big-endian
    effective_gas_price BYTEA  NOT NULL CHECK (length(effective_gas_price) = 16)
);

-- LPT minted by reward(), per orchestrator and round.
CREATE TABLE rewards (
    orchestrator BYTEA  NOT NULL CHECK (length(orchestrator) = 20),
    round        BIGINT NOT NULL,
    amount       BYTEA  NOT NULL CHECK (length(amount) = 32),
    tx_hash      BYTEA  NOT NULL CHECK (length(tx_hash) = 32),
    block_number BIGINT NOT NULL,
    PRIMARY KEY (orchestrator, round)
);

-- Small named values: the params secret, cursors.
CREATE TABLE settings (
    name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

-- Everything signed for the chain, written before any node sees it.
CREATE TABLE transactions (
    chain_id  BIGINT NOT NULL,
    sender    BYTEA  NOT NULL CHECK (length(sender) = 20),
    -- names what is wanted; sent at most once
    intent    TEXT COLLATE "C" NOT NULL,
    label     TEXT COLLATE "C" NOT NULL,
    nonce     BIGINT NOT NULL,
    recipient BYTEA  NOT NULL CHECK (length(recipient) = 20),
    data      BYTEA  NOT NULL,
    value     BYTEA  NOT NULL CHECK (length(value) = 32),
    gas_limit BIGINT NOT NULL,
    open      BIGINT NOT NULL CHECK (open IN (0, 1)),
    -- JSON: where it stands, with the outcome
    state     TEXT COLLATE "C" NOT NULL,
    -- highest fee cap it may be raised to, wei per gas, 16 bytes big-endian; NULL leaves it to the configuration
    max_fee   BYTEA CHECK (length(max_fee) = 16),
    PRIMARY KEY (chain_id, sender, intent)
);

CREATE UNIQUE INDEX transactions_open_nonce ON transactions (chain_id, sender, nonce) WHERE open = 1;

-- Signed forms of a transaction: raised fees make another of the same nonce.
CREATE TABLE transaction_attempts (
    chain_id  BIGINT NOT NULL,
    sender    BYTEA  NOT NULL,
    intent    TEXT COLLATE "C" NOT NULL,
    position  BIGINT NOT NULL,
    hash      BYTEA  NOT NULL CHECK (length(hash) = 32),
    raw       BYTEA  NOT NULL,
    -- wei per gas, 16 bytes big-endian
    max_fee   BYTEA  NOT NULL CHECK (length(max_fee) = 16),
    tip       BYTEA  NOT NULL CHECK (length(tip) = 16),
    signed_at BIGINT NOT NULL,
    PRIMARY KEY (chain_id, sender, intent, position),
    FOREIGN KEY (chain_id, sender, intent) REFERENCES transactions (chain_id, sender, intent) ON DELETE CASCADE
);

CREATE INDEX transaction_attempts_by_hash ON transaction_attempts (hash);

-- Serials of quotes whose tickets are redeemed in order: one sequence per recipient, shared by all processes that quote
-- for it. Nothing in a row ever falls.
CREATE TABLE serial_sequences (
    chain_id         BIGINT NOT NULL,
    broker           BYTEA  NOT NULL CHECK (length(broker) = 20),
    recipient        BYTEA  NOT NULL CHECK (length(recipient) = 20),
    -- the highest serial that was leased
    last_serial      BIGINT NOT NULL,
    -- what all quotes of the last lease say
    round            BIGINT NOT NULL,
    expiration_block BIGINT NOT NULL,
    PRIMARY KEY (chain_id, broker, recipient)
);
