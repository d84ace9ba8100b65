-- Orchestrators that a broadcaster caught, so that a restart does not let them back in. ends_at is in Unix seconds; relapses
-- counts how often one was let back in and caught again.
CREATE TABLE convictions (
    url      TEXT NOT NULL PRIMARY KEY,
    verdict  TEXT NOT NULL,
    why      TEXT NOT NULL,
    ends_at  INTEGER NOT NULL,
    relapses INTEGER NOT NULL
) STRICT;

CREATE INDEX convictions_by_end ON convictions (ends_at);
