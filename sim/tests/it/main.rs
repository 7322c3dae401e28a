//! The tests of the simulator through its library and its command line.

mod bank;
#[cfg(madsim)]
mod command_line;
#[cfg(madsim)]
mod events;
#[cfg(madsim)]
mod first_hour;
mod guard;
mod laws;
#[cfg(madsim)]
mod own_host;
#[cfg(madsim)]
mod own_log;
#[cfg(madsim)]
mod picture;
#[cfg(madsim)]
mod recording;
mod rooms;
#[cfg(madsim)]
mod scenarios;
#[cfg(madsim)]
mod why;
