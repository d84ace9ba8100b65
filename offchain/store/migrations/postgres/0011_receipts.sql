-- Receipts of orchestrators for results, as a challenge needs them. Hashes of results are joined.
CREATE TABLE receipts (
    digest        BYTEA   NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    chain_id      BIGINT NOT NULL,
    contract      BYTEA   NOT NULL CHECK (length(contract) = 20),
    stream        TEXT    NOT NULL,
    orchestrator  BYTEA   NOT NULL CHECK (length(orchestrator) = 20),
    sender        BYTEA   NOT NULL CHECK (length(sender) = 20),
    service       BYTEA   NOT NULL CHECK (length(service) = 32),
    manifest      BYTEA   NOT NULL CHECK (length(manifest) = 32),
    sequence      BIGINT NOT NULL,
    source_hash   BYTEA   NOT NULL CHECK (length(source_hash) = 32),
    settings      BYTEA   NOT NULL CHECK (length(settings) = 32),
    software      BYTEA   NOT NULL CHECK (length(software) = 32),
    result_hashes BYTEA   NOT NULL CHECK (length(result_hashes) % 32 = 0),
    round         BIGINT NOT NULL,
    deterministic BIGINT NOT NULL CHECK (deterministic IN (0, 1)),
    signature     BYTEA   NOT NULL CHECK (length(signature) = 65),
    -- seconds since 1970
    received_at   BIGINT NOT NULL,
    -- what its signer was convicted of
    verdict       TEXT
);

CREATE INDEX receipts_by_age ON receipts (received_at);
