-- Highest fee cap a transaction may be raised to, wei per gas, 16 bytes big-endian; NULL leaves it to the configuration.
ALTER TABLE transactions ADD COLUMN max_fee BLOB CHECK (length(max_fee) = 16);
