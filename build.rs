//! Has the linker lay out the shipped program as `serving.ld` says.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=serving.ld");
    let is = |name, value| var(name).as_deref() == Ok(value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !has_chosen_a_linker() {
        let folder = var("CARGO_MANIFEST_DIR").expect("cargo says where we are");
        println!("cargo::rustc-link-arg-bins=-T{folder}/serving.ld");
    }
}

/// Such a one may know no scripts, as mold does not, or not this kind, as gold does not. GNU's and LLVM's do.
fn has_chosen_a_linker() -> bool {
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    var("RUSTC_LINKER").is_ok() || flags.split('\x1f').any(|flag| flag.trim_start_matches("-C").starts_with("link"))
}
