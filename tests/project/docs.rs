//! The console blocks of README.md and docs/ show what really happens: they are run, line by line.
//!
//! Each block is a session of its own, in its own folder. The lines after a `$` line are its expected output, in which
//! `…` stands for anything: for a part of a line or, alone, for any number of lines. Seconds may differ.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::once::run;
use crate::harness::{At, HOSPITAL, Signal, eventually};
use regex_lite::{Regex, escape};
use tempfile::TempDir;

/// Commands that build or install: `tests/run` already does that.
const ELSEWHERE: [&str; 2] = ["cargo ", "tests/run"];

#[test]
fn what_the_documents_show_is_what_happens() {
    assert!(play(|block| !block.contains("curl ")) >= 4);
}

#[test]
#[ignore = "needs curl"]
fn what_the_documents_show_with_curl_is_what_happens() {
    assert!(play(|block| block.contains("curl ")) >= 1);
}

#[test]
fn every_link_in_the_documents_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let link = Regex::new(r"\]\(([^)#:]*)(?:#([^)]*))?\)").expect("it is one");
    let mut seen = 0;
    for folder in ["", "docs", "deploy", ".github", ".github/ISSUE_TEMPLATE"] {
        let entries = fs::read_dir(root.join(folder)).expect("the folder is there").flatten().map(|entry| entry.path());
        for page in entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            let text = fs::read_to_string(&page).expect("documents are UTF-8");
            for found in link.captures_iter(&text) {
                let target = if found[1].is_empty() { page.clone() } else { page.with_file_name(&found[1]) };
                assert!(target.exists(), "{} links to {}", page.display(), &found[1]);
                if let Some(heading) = found.get(2) {
                    let text = fs::read_to_string(&target).expect("it is a document");
                    let is_there =
                        text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading.as_str());
                    assert!(is_there, "{} links to #{} of {}", page.display(), heading.as_str(), target.display());
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} links were looked at");
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = Regex::new(r"`((?:src|crates|docs|deploy|packaging|benches|examples|fuzz)/[\w./-]+)`(, a new file)?");
    let name = name.expect("it is one");
    let docs = fs::read_dir(root.join("docs")).expect("there are docs").flatten().map(|entry| entry.path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut seen = 0;
    for page in pages.chain(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name))) {
        let text = fs::read_to_string(&page).expect("documents are UTF-8");
        for found in name.captures_iter(&text).filter(|found| found.get(2).is_none()) {
            assert!(root.join(&found[1]).exists(), "{} names {}, which is not there", page.display(), &found[1]);
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} names were looked at");
}

/// What a heading is called in a link to it.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// Plays the wanted blocks; returns their number.
fn play(wanted: impl Fn(&str) -> bool) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("there are docs").map(|entry| entry.expect("it is read").path());
    let mut played = 0;
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for path in pages.chain([root.join("README.md")]) {
        let text = fs::read_to_string(&path).expect("documents are UTF-8");
        let blocks = text.split("\n```console\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or(rest));
        for block in blocks.filter(|block| wanted(block) && !ELSEWHERE.iter().any(|word| block.contains(word))) {
            Session::new().play(&path, block);
            played += 1;
        }
    }
    played
}

/// A minimal shell session.
struct Session {
    folder: TempDir,
    server: Option<(Child, String)>,
}

impl Session {
    fn new() -> Session {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::os::unix::fs::symlink(HOSPITAL, folder.path().join("hospital")).expect("the folder is ours");
        Session { folder, server: None }
    }

    fn play(&mut self, path: &Path, block: &str) {
        for step in format!("\n{block}").split("\n$ ").skip(1) {
            // A line that begins with `>` continues the one before, as in a shell.
            let typed = 1 + step.lines().skip(1).take_while(|line| line.starts_with("> ")).count();
            let lines: Vec<_> = step.split('\n').collect();
            let (line, expected) = (lines[..typed].join("\n").replace("\n> ", "\n"), lines[typed..].join("\n"));
            let serves = line.contains("hospital serve") && !line.contains("-config");
            let told = if serves { self.serve(&line) } else { self.run(&line) };
            assert!(
                pattern(&expected).is_match(&format!("{}\n", told.trim_end())),
                "{} shows\n$ {line}\n{expected}\n\nbut this happens:\n{told}",
                path.display()
            );
        }
    }

    fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").expect("there are programs");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).env_clear().env("PATH", format!("{}:{path}", self.folder.path().display()));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> String {
        // One stream, as on a terminal.
        let line = format!("exec 2>&1\n{}", self.with_port(line));
        run(self.shell(&line)).stdout
    }

    /// Starts a server on a free port, which replaces the port in the rest of the session.
    fn serve(&mut self, line: &str) -> String {
        let path = self.folder.path().join("said");
        let mut command = self.shell(&line.replace("hospital serve", "exec hospital serve"));
        command.env("HOSPITAL_HOST", "127.0.0.1").env("PORT", "0").process_group(0);
        command.stdout(fs::File::create(&path).expect("the folder is ours")).stderr(Stdio::null());
        let child = command.spawn().expect("there is a shell");
        self.server = Some((child, String::new()));
        let mut said = String::new();
        eventually("the server says where it serves", || {
            said = fs::read_to_string(&path).unwrap_or_default();
            said.contains("...")
        });
        let At::Tcp(address) = At::announced(&said) else { panic!("it serves {said:?}") };
        self.server.as_mut().expect("it was just started").1 = address.to_string();
        said.replace(&format!("127.0.0.1 port {}", address.port()), "0.0.0.0 port 1515")
    }

    fn with_port(&self, line: &str) -> String {
        self.server.as_ref().map_or(line.to_owned(), |(_, address)| line.replace("localhost:1515", address))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.server {
            let group = nix::unistd::Pid::from_raw(child.id() as i32);
            let _ = nix::sys::signal::killpg(group, Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

/// The shown output as a pattern.
fn pattern(shown: &str) -> Regex {
    let line = |line| match line {
        "…" => r"(?:.*\n)*".to_owned(),
        line => format!("{}\n", escape(line).replace('…', ".*")),
    };
    let lines: String = shown.trim_end().split('\n').map(line).collect();
    let figures = Regex::new(r"\d+\\\.\d{3}s").expect("it is one").replace_all(&lines, r"\d+\.\d{3}s").into_owned();
    Regex::new(&format!("^{figures}$")).expect("it is made of escaped lines")
}
