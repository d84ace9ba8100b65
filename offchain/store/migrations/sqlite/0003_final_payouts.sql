-- Set when a payout was found on chain so deep below the head that no reorganisation is expected to take it back.
ALTER TABLE winning_tickets ADD COLUMN payout_final INTEGER NOT NULL DEFAULT 0 CHECK (payout_final IN (0, 1));

CREATE INDEX winning_tickets_to_confirm ON winning_tickets (changed_block) WHERE state = 'redeemed' AND payout_final = 0;
