//! `runner`: see `runner --help`.

fn main() {}
