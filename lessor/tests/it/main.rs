//! The tests of the crate through its public interface.

mod conformance;
mod docs;
mod driver;
mod group;
mod history;
mod kill;
mod laws;
mod member;
mod member_host;
mod member_machine;
mod member_model;
mod member_planted;
mod model;
mod random;
mod redb_backend;
mod seed;
