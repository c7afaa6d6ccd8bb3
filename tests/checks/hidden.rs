//! The check `process` where its user may not see every process.

use std::fs;
use std::process::{Command, Stdio};

/// What `hospital check NAME` ends with as nobody, with /proc mounted with these options.
fn check(options: &str, name: &str) -> (Option<i32>, String) {
    let script =
        "mount -t proc -o \"$1\" proc /proc; shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh", options, "/proc/self/fd/0", "check", name]);
    // Nobody may not enter the folder of the build.
    let program = fs::File::open(env!("CARGO_BIN_EXE_hospital")).expect("it is built");
    let output = command.stdin(program).current_dir("/").output().expect("unshare is there");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "needs root"]
fn what_hospital_may_not_see_is_not_taken_for_what_does_not_run() {
    let mut root = Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).spawn().expect("coreutils are there");
    let folder = tempfile::tempdir_in("/tmp").expect("there is room");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    let pidfile = folder.path().join("x.pid");
    fs::write(&pidfile, root.id().to_string()).expect("there is room");
    let pidfile = format!("#pidfile={}", pidfile.display());
    let program = fs::canonicalize("/bin/sleep").expect("it is there").display().to_string();
    for options in ["rw", "hidepid=1", "hidepid=2"] {
        let mut names = vec![
            format!("process:{program}"),
            format!("process:{program}#max=0"),
            format!("process:{program}#max=0&expect=failure"),
            format!("process:{program}{pidfile}"),
        ];
        if options != "rw" {
            names.extend(["process:sleep", "process:sleep#max=0"].map(str::to_owned));
            names.push(format!("process:{pidfile}"));
        }
        for name in names {
            let (code, text) = check(options, &name);
            assert!(code == Some(1) && text.contains("\nERROR: "), "{options} {name}: {code:?} {text}");
        }
    }
    assert_eq!(check("rw", "process:sleep").0, Some(0));
    assert_eq!(check("rw", &format!("process:{pidfile}")).0, Some(0));
    root.kill().and_then(|()| root.wait()).expect("it is ours");
}
