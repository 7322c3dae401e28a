//! Outside of every cfg, so that a build without the simulator cannot be green.

#[test]
#[expect(clippy::assertions_on_constants, reason = "it is about how it was built")]
fn the_simulator_is_built() {
    assert!(
        cfg!(madsim),
        "built without --cfg madsim, so that no simulation was tested: an exported RUSTFLAGS replaces \
         the flags of .cargo/config.toml; unset it"
    );
}
