//! The tests of the simulator through its library and its command line.

mod bank;
#[cfg(madsim)]
mod command_line;
mod guard;
mod laws;
#[cfg(madsim)]
mod scenarios;
