//! Many scenarios and many seeds, short scenarios of long ones, and the bugs that are planted.

pub mod bank;
#[cfg(madsim)]
pub mod batch;
#[cfg(madsim)]
pub mod pool;
#[cfg(madsim)]
pub mod seeds;
#[cfg(madsim)]
pub mod shrink;
#[cfg(madsim)]
pub mod why;
