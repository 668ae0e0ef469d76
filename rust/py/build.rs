//! Says in the extension how it was built, for whoever measures it.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let kind = if flags.contains("profile-use") { "trained" } else { "plain" };
    println!("cargo::rustc-env=SWISPER_BUILD={kind}");
}
