-- What a broadcaster learnt of orchestrators, so that its next start finds them warm and need not ask the chain first. Times
-- for a segment are in millionths of its length; seen_at is in Unix seconds.
CREATE TABLE orchestrators (
    url           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    account       BYTEA CHECK (length(account) = 20),
    stake         BYTEA CHECK (length(stake) = 32),
    price_wei     BIGINT,
    price_pixels  BIGINT,
    latency_ppm   BIGINT,
    deviation_ppm BIGINT,
    served        BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    seen_at       BIGINT NOT NULL
);

CREATE INDEX orchestrators_by_age ON orchestrators (seen_at);
