-- What a broadcaster learnt of orchestrators, so that its next start finds them warm and need not ask the chain first. Times
-- for a segment are in millionths of its length; seen_at is in Unix seconds.
CREATE TABLE orchestrators (
    url           TEXT NOT NULL PRIMARY KEY,
    account       BLOB CHECK (length(account) = 20),
    stake         BLOB CHECK (length(stake) = 32),
    price_wei     INTEGER,
    price_pixels  INTEGER,
    latency_ppm   INTEGER,
    deviation_ppm INTEGER,
    served        INTEGER NOT NULL,
    failed        INTEGER NOT NULL,
    seen_at       INTEGER NOT NULL
) STRICT;

CREATE INDEX orchestrators_by_age ON orchestrators (seen_at);
