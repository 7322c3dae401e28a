//! placeholder
/// placeholder
#[derive(Debug)]
pub struct RedbBackend;
