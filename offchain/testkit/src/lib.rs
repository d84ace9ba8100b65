//! Test fixtures: anvil, builders, clips. Used by tests only.
