//! The orchestrator role: quotes prices, checks payments, dispatches segments.
