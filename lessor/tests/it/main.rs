//! The tests of the crate through its public interface.

mod aborted;
mod allocations;
mod conformance;
mod crash_driver;
mod crash_machine;
mod crash_planted;
mod creation;
mod disk;
mod docs;
mod driver;
mod group;
mod history;
mod ids;
mod kill;
mod laws;
mod ledger;
mod member;
mod member_host;
mod member_machine;
mod member_model;
mod member_planted;
mod model;
mod random;
mod redb_backend;
mod seed;
mod values;
