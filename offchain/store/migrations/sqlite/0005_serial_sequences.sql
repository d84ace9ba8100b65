-- Serials of quotes whose tickets are redeemed in order: one sequence per recipient, shared by all processes that quote
-- for it. Nothing in a row ever falls.
CREATE TABLE serial_sequences (
    chain_id         INTEGER NOT NULL,
    broker           BLOB    NOT NULL CHECK (length(broker) = 20),
    recipient        BLOB    NOT NULL CHECK (length(recipient) = 20),
    -- the highest serial that was leased
    last_serial      INTEGER NOT NULL,
    -- what all quotes of the last lease say
    round            INTEGER NOT NULL,
    expiration_block INTEGER NOT NULL,
    PRIMARY KEY (chain_id, broker, recipient)
) STRICT, WITHOUT ROWID;
