//! Probabilistic micropayments: ticket maths, checks, sender and recipient accounting. No I/O.
