//! The host that ships: the product's own driver.

use lessor::driver::Driver;

use super::{Host, HostError, Seat};

/// Runs a member by [`Driver`], as a program with the real runtime does.
pub(super) struct DriverHost;

impl Host for DriverHost {
    async fn run(&self, mut seat: Seat) -> Result<(), HostError> {
        let backend = seat.open_backend().await?;
        let (config, runtime, log) = (seat.config(), seat.runtime(), seat.log()?);
        let (handle, driver) = Driver::open(&config, runtime, backend, log).await?;
        seat.serve(handle);
        Ok(driver.observe(seat.tap()).run().await?)
    }
}
