//! Makes the linker lay out the shipped program as `serving.ld` says, and links the unwinder for panics into it.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=serving.ld");
    let is = |name, value| var(name).as_deref() == Ok(value);
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") || has_chosen_a_linker() {
        return;
    }
    let folder = var("CARGO_MANIFEST_DIR").expect("cargo says where we are");
    println!("cargo::rustc-link-arg-bins=-T{folder}/serving.ld");
    if is("CARGO_CFG_TARGET_ENV", "gnu") && var("HOST") == var("TARGET") {
        link_unwinder();
    }
}

/// Linkers other than GNU's and LLVM's may read no scripts (mold), or not this kind (gold).
fn has_chosen_a_linker() -> bool {
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let chooses = |flag: &str| ["linker=", "linker-flavor=", "-fuse-ld="].iter().any(|option| flag.contains(option));
    var("RUSTC_LINKER").is_ok() || flags.split('\x1f').any(chooses)
}

/// Otherwise each start loads the unwinder from libgcc_s, which first queries the processor for all its features: in a
/// virtual machine that takes longer than the loading.
fn link_unwinder() {
    let Some(unwinder) = unwinder() else { return };
    let folder = var("OUT_DIR").expect("cargo gives us a folder");
    // The linker looks for the shared library, and finds this script instead, which sends it to the archive.
    let script = Path::new(&folder).join("libgcc_s.so");
    std::fs::write(script, format!("INPUT({unwinder} -lgcc)\n")).expect("the folder is ours to write to");
    println!("cargo::rustc-link-arg-bins=-L{folder}");
}

/// The path where the C compiler has it; not every one does.
fn unwinder() -> Option<String> {
    let found = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output().ok()?;
    let path = String::from_utf8(found.stdout).ok()?.trim().to_owned();
    Path::new(&path).is_absolute().then_some(path)
}
