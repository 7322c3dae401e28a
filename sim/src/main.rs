//! The command line of the simulator, with the parts that every testbed has.

use std::process::ExitCode;

use lessor_sim::host::Testbed;

fn main() -> ExitCode {
    lessor_sim::main(Testbed::new().called("cargo sim"))
}
