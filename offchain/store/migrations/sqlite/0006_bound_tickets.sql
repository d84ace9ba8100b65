-- Tag of the chain and contract that a ticket is bound to; NULL in tickets as the deployed network signs them.
ALTER TABLE winning_tickets ADD COLUMN deployment BLOB CHECK (length(deployment) = 32);
