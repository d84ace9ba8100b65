//! Compiles the contracts and writes their ABI and bytecode JSON.

fn main() {}
