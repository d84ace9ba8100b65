-- Receipts of orchestrators for results, as a challenge needs them. Hashes of results are joined.
CREATE TABLE receipts (
    digest        BLOB    NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    chain_id      INTEGER NOT NULL,
    contract      BLOB    NOT NULL CHECK (length(contract) = 20),
    stream        TEXT    NOT NULL,
    orchestrator  BLOB    NOT NULL CHECK (length(orchestrator) = 20),
    sender        BLOB    NOT NULL CHECK (length(sender) = 20),
    service       BLOB    NOT NULL CHECK (length(service) = 32),
    manifest      BLOB    NOT NULL CHECK (length(manifest) = 32),
    sequence      INTEGER NOT NULL,
    source_hash   BLOB    NOT NULL CHECK (length(source_hash) = 32),
    settings      BLOB    NOT NULL CHECK (length(settings) = 32),
    software      BLOB    NOT NULL CHECK (length(software) = 32),
    result_hashes BLOB    NOT NULL CHECK (length(result_hashes) % 32 = 0),
    round         INTEGER NOT NULL,
    deterministic INTEGER NOT NULL CHECK (deterministic IN (0, 1)),
    signature     BLOB    NOT NULL CHECK (length(signature) = 65),
    -- seconds since 1970
    received_at   INTEGER NOT NULL,
    -- what its signer was convicted of
    verdict       TEXT
) STRICT;

CREATE INDEX receipts_by_age ON receipts (received_at);
