//! What delegators are told, against what the contracts then do.

mod earnings;
mod market;
mod ratios;
mod refusing;
mod slashes;
mod what_if;
