-- Who leads among the keepers of an account. Times are milliseconds since 1970 by the clock of the database.
CREATE TABLE keeper_leases (
    chain_id   BIGINT NOT NULL,
    account    BYTEA  NOT NULL CHECK (length(account) = 20),
    -- grows with every new leader and never falls; a write under an older one is refused
    token      BIGINT NOT NULL,
    -- who it is, for people
    holder     TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    -- what the lease was taken for: one that ends later than this from now was made by a clock that has since been set back
    length     BIGINT NOT NULL,
    PRIMARY KEY (chain_id, account)
);
