//! `testbed up`: a bed in the foreground, for people and for scripts.
fn main() {}
