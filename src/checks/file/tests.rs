use super::*;
use crate::model::check::Status;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

fn found(path: &Path, pairs: &[(&str, &str)]) -> Finding {
    let action = build(&path.display().to_string(), &mut Options::of(pairs)).expect("it is well formed");
    action(Deadline::at(Instant::now() + Duration::from_secs(60)))
}

fn says(finding: &Finding, status: Status, text: &str) {
    let context = finding.context.as_deref().unwrap_or_default();
    assert!(finding.status == status && context.contains(text), "{text:?} should be in {finding:?}");
}

fn sample() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    fs::write(&file, "state: green\n").expect("it can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
    file
}

#[test]
fn a_file_that_fits_passes_with_its_figures() {
    let file = sample();
    let owner = file.as_file().metadata().expect("it is there").uid().to_string();
    let all = [
        ("max_age", "1h"),
        ("min_size", "13B"),
        ("max_size", "1kB"),
        ("match", "state: (green|blue)"),
        ("owner", &owner),
        ("mode", "0640"),
    ];
    let found = found(file.path(), &all);
    assert_eq!((found.status, found.context), (Status::Pass, None));
    assert_eq!(found.perfdata[0], Perfdata::new("size", 13.0, "B"));
    assert_eq!(found.perfdata[1].label, "age");
}

#[test]
fn everything_that_does_not_fit_is_named_at_once() {
    let file = sample();
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
    file.as_file().set_modified(two_hours_ago).expect("it is ours");
    let all = [("max_age", "1h"), ("min_size", "1KiB"), ("match", "red"), ("owner", "4242"), ("mode", "600")];
    let found = found(file.path(), &all);
    for text in [
        "expected a change in the last 1h, got one 2h ago, and ",
        "expected at least 1 KiB, got 13 B",
        "expected user 4242 to own it, got user ",
        "expected the mode 0600, got 0640",
        "expected a match of \"red\", got none in 13 B: /",
    ] {
        says(&found, Status::Fail, text);
    }
    assert_eq!(found.perfdata[0].value, 13.0);
    says(&self::found(file.path(), &[("max_size", "5B")]), Status::Fail, "expected at most 5 B, got 13 B");
}

#[test]
fn a_file_from_the_future_is_not_new_for_ever() {
    let file = sample();
    file.as_file().set_modified(SystemTime::now() + Duration::from_secs(3600)).expect("it is ours");
    says(&found(file.path(), &[("max_age", "1s")]), Status::Error, "it will be changed in 59m");
    assert_eq!(found(file.path(), &[]).status, Status::Pass);
    file.as_file().set_modified(SystemTime::now() + Duration::from_secs(5)).expect("it is ours");
    assert_eq!(found(file.path(), &[("max_age", "1h")]).status, Status::Pass);
}

#[test]
fn a_match_is_found_beyond_the_first_mebibyte_and_at_the_ends_of_lines() {
    let file = sample();
    let searched = |text: &str, pattern: &str| {
        fs::write(&file, text).expect("there is room");
        found(file.path(), &[("match", pattern)])
    };
    let filler = "all is well\r\n".repeat(90_000);
    assert_eq!(searched(&format!("{filler}red\r\nend"), "^red$").status, Status::Pass);
    assert_eq!(searched(&format!("{filler}red\r\nend"), "^end$").status, Status::Pass);
    says(&searched(&filler, "^is"), Status::Fail, "got none in 1.1 MiB");
    assert_eq!(searched(&format!("{filler}red\r\nend"), "red\r\nend").status, Status::Pass);
    says(&searched(&"x".repeat(2 << 20), "y"), Status::Fail, "got none in 2 MiB");
    assert_eq!(searched("", "^$").status, Status::Pass);
}

#[test]
fn a_new_folder_does_not_hide_that_the_files_of_a_pattern_are_old() {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let file = fs::File::create(folder.path().join("backup")).expect("it is ours");
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).expect("it is ours");
    fs::create_dir(folder.path().join("new")).expect("it is ours");
    let pattern = folder.path().join("*");
    says(&found(&pattern, &[("max_age", "1h")]), Status::Fail, "/backup");
    assert_eq!(found(&pattern, &[("max_age", "1h"), ("type", "folder")]).status, Status::Pass);
}

#[test]
fn of_a_pattern_the_newest_file_counts_and_where_none_is_it_fails() {
    let folder = tempfile::tempdir().expect("there is room");
    let pattern = folder.path().join("*.tar.gz");
    says(&found(&pattern, &[]), Status::Fail, "*.tar.gz, and there is none");
    assert_eq!(found(&pattern, &[("absent", "true")]), Finding::PASS);
    for (name, hours, text) in [("a.tar.gz", 30, "old"), ("b.tar.gz", 2, "newest"), ("c.tar", 0, "other")] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("there is room");
        let changed = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(changed)).expect("it is ours");
    }
    std::os::unix::fs::symlink("/no/where", folder.path().join("d.tar.gz")).expect("it can be made");
    assert_eq!(found(&pattern, &[("max_age", "3h"), ("match", "^newest$")]).status, Status::Pass);
    says(&found(&pattern, &[("max_age", "1h")]), Status::Fail, "/b.tar.gz");
    says(&found(&pattern, &[("absent", "true")]), Status::Fail, "a.tar.gz");
}

#[test]
fn its_type_its_target_and_its_digest_are_compared() {
    let file = sample();
    let sum = "2a9fb2e1ec0a8f35fba5bbce1cd7eb1b2e6e1a62a3d8b4ae4a9f6d2a1a1d6c52";
    says(&found(file.path(), &[("sha256", sum)]), Status::Fail, &format!("expected the SHA-256 {sum}, got "));
    let told = found(file.path(), &[("sha256", sum)]).context.unwrap_or_default();
    let got = told.split("got ").nth(1).and_then(|rest| rest.split(':').next()).expect("it is told");
    assert_eq!(found(file.path(), &[("sha256", got), ("type", "file")]).status, Status::Pass);
    says(&found(file.path(), &[("type", "folder")]), Status::Fail, "expected a folder, got a file");
    says(&found(Path::new("/dev/null"), &[("type", "file")]), Status::Fail, "expected a file, got a device");
    assert_eq!(found(Path::new("/dev/null"), &[("type", "device")]).status, Status::Pass);
    let folder = tempfile::tempdir().expect("there is room");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("no/where", &link).expect("it can be made");
    assert_eq!(found(&link, &[("target", "no/where"), ("type", "link")]).status, Status::Pass);
    says(&found(&link, &[("target", "/x")]), Status::Fail, "expected a link to /x, got one to no/where");
    says(&found(file.path(), &[("target", "/x")]), Status::Fail, "expected a link, got a file");
    says(&found(&link, &[("type", "file")]), Status::Fail, "expected a file at");
}

#[test]
fn a_missing_file_fails_unless_it_shall_be_absent() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("lock");
    says(&found(&path, &[]), Status::Fail, "expected a file at /");
    assert_eq!(found(&path, &[("absent", "true")]), Finding::PASS);
    std::os::unix::fs::symlink("/no/where", &path).expect("it can be made");
    says(&found(&path, &[("absent", "true")]), Status::Fail, "got a link");
    let under_a_file = sample().path().join("x");
    says(&found(&under_a_file, &[]), Status::Fail, "expected a file");
}

#[test]
fn a_pipe_is_not_read() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("coreutils are there").success());
    says(&found(&path, &[("match", "x")]), Status::Error, "it is not a regular file");
    assert_eq!(found(&path, &[]).status, Status::Pass);
}

#[test]
fn what_is_no_text_can_be_searched() {
    let file = sample();
    fs::write(&file, b"\xff\xfe state: green").expect("it can be written");
    assert_eq!(found(file.path(), &[("match", "green")]).status, Status::Pass);
}

#[test]
fn wrong_options_are_refused_with_their_names() {
    for (pair, text) in [
        (("match", "("), "option match: "),
        (("max_age", "old"), "option max_age: write a time as"),
        (("min_size", "5G"), "option min_size: write a size as"),
        (("owner", "no-such-user"), "option owner: there is no such user"),
        (("mode", "rw"), "option mode: write a mode in octal"),
        (("absent", "yes"), "option absent: "),
        (("type", "dir"), "option type: write file, folder, link, socket, fifo, device"),
        (("sha256", "abc"), "option sha256: write 64 hexadecimal digits"),
    ] {
        let error = build("/x", &mut Options::of(&[pair])).err().unwrap_or_default();
        assert!(error.starts_with(text) && !error.contains('\n'), "{error}");
    }
    assert!(build("x", &mut Options::of(&[])).is_err());
    assert!(build("/x", &mut Options::of(&[("absent", "true"), ("mode", "600")])).is_err());
    assert!(build("/x", &mut Options::of(&[("min_size", "2"), ("max_size", "1")])).is_err());
    assert!(build("/x", &mut Options::of(&[("type", "file"), ("target", "/y")])).is_err());
    assert_eq!(owner("root"), Ok(0));
}
