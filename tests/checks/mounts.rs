//! Checks where the mounts are other than usual.

use std::process::Command;

/// What `hospital check NAME` ends with after a script has mounted things; `$1` is a folder for that.
fn check(script: &str, name: impl Fn(&str) -> String) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("there is room");
    let folder = folder.path().to_str().expect("a plain path");
    let script = format!("{script}; shift; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-ec",
        &script,
        "sh",
        folder,
        env!("CARGO_BIN_EXE_hospital"),
        "check",
        &name(folder),
    ]);
    let output = command.output().expect("unshare is there");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "needs root"]
fn without_proc_no_file_is_taken_for_missing() {
    for name in ["process:#pidfile=/etc/hostname", "file:/etc/hostname#match=x", "disk:/#mounted&free=0%"] {
        let (code, text) = check("mount -t tmpfs none /proc", |_| name.to_owned());
        assert!(code == Some(1) && text.contains("\nERROR: "), "{name}: {text}");
        assert!(text.contains("/proc is not mounted"), "{name}: {text}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_file_system_that_is_read_only_for_us_alone_is_mounted_rw() {
    let mount = "mount -t tmpfs none \"$1\"";
    let name = |folder: &str| format!("disk:{folder}#mounted=rw&free=0%");
    // As systemd does for ProtectSystem=strict.
    let (code, text) = check(&format!("{mount}; mount -o remount,bind,ro \"$1\""), name);
    assert_eq!(code, Some(0), "{text}");
    // As the kernel does after an error.
    let (code, text) = check(&format!("{mount}; mount -o remount,ro \"$1\""), name);
    assert!(code == Some(1) && text.contains("FAIL: ") && text.contains("but it is read-only"), "{text}");
    let (code, text) = check("mkdir \"$1/a#b c\"; mount -t tmpfs none \"$1/a#b c\"", |folder| {
        format!("disk:{folder}/a%23b%20c#mounted&free=0%")
    });
    assert_eq!(code, Some(0), "{text}");
}
