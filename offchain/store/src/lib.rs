//! Durable state: winning tickets, nonces, transactions. SQLite through sqlx.
