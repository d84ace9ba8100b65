-- What a pass of the keeper reads: the pending tickets of a pair of accounts in the order of their keys. The serial of a
-- marked ticket is the bytes 9 to 16 of its secret number.
CREATE INDEX winning_tickets_in_order ON winning_tickets
    (recipient, sender, creation_round, substr(recipient_rand, 9, 8), sender_nonce, params_expiration_block, not_before)
    WHERE state = 'pending';

-- Set when a payout was found in a block that the chain calls safe: before it is final.
ALTER TABLE winning_tickets ADD COLUMN payout_safe BIGINT NOT NULL DEFAULT 0 CHECK (payout_safe IN (0, 1));

CREATE INDEX winning_tickets_to_be_safe ON winning_tickets (changed_block)
    WHERE state = 'redeemed' AND payout_final = 0 AND payout_safe = 0;
