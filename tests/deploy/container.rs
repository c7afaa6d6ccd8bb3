//! The image that `deploy/container/Dockerfile` describes: an empty root with the static program, run as the file says,
//! as PID 1 and as an unprivileged user.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::family::{Family, python_program};
use crate::harness::{Signal, processes, send};

/// The text after this word at the beginning of a line in the last stage, where it must appear once.
#[track_caller]
fn instruction(word: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/container/Dockerfile");
    let text = std::fs::read_to_string(path).expect("the file is there");
    let (_, stage) = text.split_once("\nFROM scratch\n").expect("the last stage begins with nothing");
    let mut found = stage.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    let rest = found.next().unwrap_or_else(|| panic!("there is no {word}"));
    assert_eq!(found.next(), None, "{word} stands there once");
    rest.to_owned()
}

/// A command in JSON form, which needs no shell: the image has none.
#[track_caller]
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The result of `packaging/build --static`, which the Dockerfile also runs.
#[track_caller]
pub(super) fn static_program() -> PathBuf {
    let target = format!("target/{}-unknown-linux-musl/release/hospital", std::env::consts::ARCH);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
    assert!(path.exists(), "tests/run makes it");
    path
}

/// A running container of the image.
struct Container {
    family: Family,
}

impl Container {
    #[track_caller]
    fn start() -> Container {
        let directory = tempfile::tempdir().expect("there is room");
        let root = directory.path().join("root");
        // What an engine provides; everything else is in the image.
        std::fs::create_dir_all(root.join("proc")).expect("the directory is ours");
        std::fs::create_dir(root.join("etc")).expect("the directory is ours");
        std::fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").expect("the directory is ours");
        std::fs::copy(static_program(), root.join("hospital")).expect("the directory is ours");
        let script = r#"mount -t proc proc "$1/proc" && ip link set lo up && root=$1 user=$2 && shift 2 &&
                        exec chroot --userspec="$user" "$root" "$@""#;
        let family = Family::start(directory, "unshare", |unshare| {
            unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]);
            unshare.arg(&root).arg(instruction("USER"));
            unshare.args(command(&instruction("ENTRYPOINT"))).args(command(&instruction("CMD")));
            unshare.env("HEALTHCHECKS", "hospital.healthchecks.predictable").env("WEB_CONCURRENCY", "2");
        });
        family.within_patience("it serves", || family.text("stdout").contains("Serving on "));
        Container { family }
    }

    fn init(&self) -> i32 {
        processes::children(self.family.head())[0]
    }

    /// Runs a command in the container, as `docker exec` does.
    #[track_caller]
    fn exec(&self, words: &[String]) -> Output {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.init().to_string(), "--net", "--mount", "--pid", "chroot"]);
        nsenter.arg(format!("--userspec={}", instruction("USER"))).arg(self.family.path("root")).args(words);
        nsenter.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().expect("nsenter can be started")
    }
}

#[test]
#[ignore = "needs root, target/*-musl/release/hospital"]
fn the_image_serves_as_nobody_says_that_it_is_healthy_and_ends_well() {
    let mut container = Container::start();
    let init = container.init();
    assert_eq!(processes::name(init), "hospital:master");
    assert!(processes::status(init, "NSpid").ends_with("\t1"), "{}", processes::status(init, "NSpid"));
    assert_eq!(processes::status(init, "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(container.family.workers_of(init).len(), 2);

    let healthcheck = instruction("HEALTHCHECK");
    let (_, healthcheck) = healthcheck.split_once(" CMD ").expect("it has a command");
    let healthcheck = command(healthcheck);
    let told = container.exec(&healthcheck);
    assert_eq!(told.status.code(), Some(0), "{told:?}");

    // When asked about another port it must fail, so its success means something.
    let elsewhere: Vec<_> = healthcheck.iter().map(|word| word.replace("1515", "1516")).collect();
    assert_eq!(container.exec(&elsewhere).status.code(), Some(1));

    send(init, Signal::SIGTERM);
    assert_eq!(container.family.wait().code(), Some(0), "{}", container.family.text("stderr"));
}

#[test]
#[ignore = "needs root, target/*-musl/release/hospital"]
fn the_kinds_work_without_a_c_library_beside_the_program() {
    let container = Container::start();
    let names = [
        "tcp://127.0.0.1:1515",
        "http://localhost:1515/readyz",
        "disk:/#free=0%",
        "load:#max=1000",
        "memory:#available=1%",
    ];
    let words: Vec<_> = ["/hospital", "check"].iter().chain(&names).map(ToString::to_string).collect();
    let told = container.exec(&words);
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
}

#[test]
#[ignore = "needs hadolint"]
fn hadolint_has_nothing_to_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/container/Dockerfile");
    let told = Command::new(python_program("hadolint")).arg(path).output();
    let told = told.expect("hadolint can be started");
    assert!(told.status.success() && told.stdout.is_empty(), "{}", String::from_utf8_lossy(&told.stdout));
}
