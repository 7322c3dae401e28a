//! The tests of the crate through its public interface.

mod conformance;
mod docs;
mod driver;
mod kill;
mod member;
mod model;
mod random;
mod redb_backend;
mod seed;
