//! The command line of the simulator.

#[cfg(not(madsim))]
compile_error!(
    "the simulator needs --cfg madsim: an exported RUSTFLAGS replaces the flags of .cargo/config.toml; unset it"
);

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    ExitCode::from(cli::run())
}
