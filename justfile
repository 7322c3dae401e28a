# The commands of this workspace. Plain cargo does for most of them; these are the ones to remember.

set shell := ["bash", "-euo", "pipefail", "-c"]

rust_version := `sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml`

# lists the commands
[default]
help:
    @just --list --unsorted

# everything that must hold before a commit, except the tests; writes nothing but the target folder
check: check-fmt check-beside check-clippy check-doc check-no-std check-features check-deny check-msrv check-bugs

# makes what a machine can make right: formatting, and clippy's own suggestions
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# all tests, as the README says
test:
    cargo test --workspace

# replays all scenarios and prints a summary; `just sim replay scenarios/x.toml` is `cargo sim replay …`
sim *ARGS:
    cargo sim {{ ARGS }}

# takes the traces of today as the snapshots; look at the difference before you commit it
bless:
    INSTA_UPDATE=always cargo test --package lessor-sim --test it
    git status --short snapshots

# takes the pictures in docs/pictures anew
screenshots:
    docs/pictures/make

# plants the bugs of the bank one at a time, and counts who finds them (docs/TESTING.md)
bugs *ARGS:
    cargo sim bugs {{ ARGS }}

# changes the core in every small way, one at a time, and lists what no test notices (docs/TESTING.md)
mutants *ARGS:
    @cargo mutants --version >/dev/null 2>&1 || { \
        echo "cargo-mutants is missing; run: cargo install --locked cargo-mutants@27.1.0" >&2; \
        exit 1; \
    }
    @cargo nextest --version >/dev/null 2>&1 || { \
        echo "cargo-nextest is missing; run: cargo install --locked cargo-nextest@0.9.143" >&2; \
        exit 1; \
    }
    NEXTEST_PROFILE=mutants cargo mutants --test-tool nextest --output target {{ ARGS }}

# runs the fuzz targets for FUZZ_SECONDS each, 60 by default, on the nightly toolchain (docs/TESTING.md)
fuzz-targets:
    lessor/fuzz/run

# Proptest's cases are few because Miri is slow, and its flags are only seen if they are let in.
# the core's unit tests in Miri, on the nightly toolchain with its components miri and rust-src
miri:
    @cargo +nightly miri --version >/dev/null 2>&1 || { \
        echo "Miri is missing; run: rustup toolchain install nightly --component miri,rust-src" >&2; \
        exit 1; \
    }
    MIRIFLAGS=-Zmiri-env-forward=PROPTEST_CASES PROPTEST_CASES=8 \
        cargo +nightly miri test --locked --package lessor --no-default-features --lib

# the benchmarks of the core and the driver (docs/BENCHMARKS.md)
bench *ARGS:
    cargo bench --package lessor --all-features {{ ARGS }}

# `--bless` takes the figures of today as the baseline.
# counts the instructions of the core's hot paths, and fails if one has moved by 10 % (docs/BENCHMARKS.md)
instructions *ARGS:
    cargo run --locked --quiet --profile instructions --package lessor-instructions -- {{ ARGS }}

# the lessor beside its peers, etcd's among them, in one table (docs/BENCHMARKS.md)
bench-peers:
    lessor/peers/run

# what a release changes in the API since the tag `since`, and whether the crate can be packaged
release-check since:
    @cargo semver-checks --version >/dev/null 2>&1 || { \
        echo "cargo-semver-checks is missing; run: cargo install --locked cargo-semver-checks@0.51.0" >&2; \
        exit 1; \
    }
    @cargo public-api --version >/dev/null 2>&1 || { \
        echo "cargo-public-api is missing; run: cargo install --locked cargo-public-api@0.52.0" >&2; \
        exit 1; \
    }
    cargo semver-checks --package lessor --all-features --baseline-rev {{ since }}
    cargo public-api --package lessor --all-features diff {{ since }}..HEAD
    cargo semver-checks --package lessor-sim --baseline-rev {{ since }}
    cargo publish --dry-run --locked --package lessor --package lessor-sim

# builds the documentation with everything in it, and says where it is
doc:
    cargo doc --workspace --no-deps --all-features
    @echo "${CARGO_TARGET_DIR:-target}/doc/lessor/index.html"

[private]
check-fmt:
    cargo fmt --all --check
    cargo fmt --manifest-path lessor/fuzz/Cargo.toml --check
    cargo fmt --manifest-path lessor/peers/Cargo.toml --check
    cargo fmt --manifest-path sim/examples/own-backend/Cargo.toml --check
    cargo fmt --manifest-path sim/examples/own-host/Cargo.toml --check

# The workspaces beside this one have lock files of their own, and name what may have moved here.
[private]
check-beside:
    for workspace in fuzz peers; do \
        cargo check --quiet --locked --all-targets --manifest-path lessor/$workspace/Cargo.toml \
            --target-dir "${CARGO_TARGET_DIR:-target}"; \
    done

# Warnings are denied by flags of the one command: an exported RUSTFLAGS would replace `--cfg madsim`.
[private]
check-clippy:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# The list is appended to the one in .cargo/config.toml, so `--cfg madsim` stays.
[private]
check-doc:
    cargo doc --locked --workspace --no-deps --config 'build.rustdocflags=["-D","warnings"]'

# The core needs no std, and nothing but a hash table and a hasher. It is built for a machine without
# an operating system if rustup has one installed (`rustup target add thumbv7em-none-eabi`).
[private]
check-no-std:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo clippy --locked --package lessor --no-default-features -- -D warnings
    crates=$(cargo tree --locked --package lessor --no-default-features --edges normal \
        --prefix none --format '{lib}' | sort -u | paste -sd ' ')
    if [ "$crates" != "hashbrown lessor siphasher" ]; then
        echo "the core links «$crates», but may link only hashbrown and siphasher" >&2
        exit 1
    fi
    for folder in "$(rustc --print sysroot)"/lib/rustlib/*-none*; do
        [ -d "$folder/lib" ] || continue
        cargo check --locked --package lessor --no-default-features --target "${folder##*/}"
    done

# Each feature stands on its own.
[private]
check-features:
    for feature in std serde redb tokio metrics; do \
        cargo clippy --locked --package lessor --no-default-features --features $feature -- -D warnings; \
    done

[private]
check-deny:
    cargo deny --all-features check --hide-inclusion-graph licenses bans sources

# The crates are built with what Cargo.toml promises as `rust-version`: by this toolchain, or by that one.
# Their tests are not: who uses the crates does not build them.
[private]
check-msrv:
    #!/usr/bin/env bash
    set -euo pipefail
    version=$(rustc --version | cut -d ' ' -f 2)
    if [[ "$version." == "{{ rust_version }}."* ]]; then
        echo "rust-version {{ rust_version }} is this toolchain, $version"
    elif cargo "+{{ rust_version }}" --version >/dev/null 2>&1; then
        cargo "+{{ rust_version }}" check --quiet --locked --package lessor --package lessor-sim \
            --all-features --target-dir "${CARGO_TARGET_DIR:-target}/msrv"
    else
        echo "rust-version {{ rust_version }} cannot be verified with $version:" \
            "rustup toolchain install {{ rust_version }} --profile minimal" >&2
        exit 1
    fi

# A patch of the bug bank that lands nowhere, or elsewhere, finds nothing and says nothing.
[private]
check-bugs:
    cargo sim bugs --check
