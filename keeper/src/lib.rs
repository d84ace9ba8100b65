//! The keeper: redeems winning tickets, calls reward, initialises rounds.
