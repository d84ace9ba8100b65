-- Who leads among the keepers of an account. Times are milliseconds since 1970 by the clock of the database.
CREATE TABLE keeper_leases (
    chain_id   INTEGER NOT NULL,
    account    BLOB    NOT NULL CHECK (length(account) = 20),
    -- grows with every new leader and never falls; a write under an older one is refused
    token      INTEGER NOT NULL,
    -- who it is, for people
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    -- what the lease was taken for: one that ends later than this from now was made by a clock that has since been set back
    length     INTEGER NOT NULL,
    PRIMARY KEY (chain_id, account)
) STRICT, WITHOUT ROWID;
