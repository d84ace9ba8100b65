//! Chain access: head and round follower, sender state, transactions.
