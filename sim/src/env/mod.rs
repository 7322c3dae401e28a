//! What surrounds a member: its disk, the log, the faults that last, and those who ask.

pub mod active_faults;
pub mod consensus;
pub mod disk;
pub mod journal;
pub mod lessee;
pub mod packet;
pub mod raft;
