//! `package:nginx#match=^1\.22`: a package is installed.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::support::pattern::Pattern;
use super::support::program;
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::os::filesystem;

pub(super) const KIND: Kind = Kind {
    scheme: "package",
    port: None,
    options: &[
        Opt::new("version", Value::Text, "The version that has to be installed"),
        Opt::new("match", Value::Pattern, "What the version has to match"),
    ],
    runs: Runs::ByProgram,
    controls: Control::HOST,
    title: "The package {target} is installed",
    passes: "a package of dpkg, apk or rpm is installed",
    notices: &["gone", "starved"],
    examples: &["package:nginx#match=^1\\.22"],
    build,
};

/// A package of a database.
#[derive(Debug, PartialEq)]
struct Package {
    version: String,
    /// Why it is not usable, though it is there.
    broken: Option<String>,
}

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "+-._:~".contains(c);
    if target.is_empty() || target.starts_with('-') || !target.chars().all(is_known) {
        return Err("the target is not the name of a package, as in package:nginx".to_owned());
    }
    let name = target.to_owned();
    let version = options.take("version")?;
    let pattern: Option<Pattern> = options.parse("match", str::parse)?;
    Ok(Box::new(move |deadline| Finding::from(find(&name, version.as_deref(), pattern.as_ref(), deadline))))
}

fn find(name: &str, version: Option<&str>, pattern: Option<&Pattern>, deadline: Deadline) -> Result {
    let fail = |why: String| Err(Reason::Fail(format!("expected the package {name} {why}")));
    let Some(found) = look_up(name, deadline)? else { return fail("to be installed, and it is not".to_owned()) };
    if let Some(why) = &found.broken {
        return fail(format!("to be installed, got {} that is {why}", found.version));
    }
    if let Some(version) = version.filter(|version| *version != found.version) {
        return fail(format!("in version {version}, got {}", found.version));
    }
    if let Some(pattern) = pattern
        && !pattern.is_in(found.version.as_bytes(), deadline)?
    {
        return fail(format!("in a version that matches {:?}, got {}", pattern.as_str(), found.version));
    }
    Ok(())
}

/// Looks into each database that this host has.
fn look_up(name: &str, deadline: Deadline) -> Result<Option<Package>> {
    let cannot = |path: &str, error: io::Error| Reason::Error(format!("cannot read {path}: {error}"));
    let mut is_known = false;
    for (path, read) in [
        ("/var/lib/dpkg/status", dpkg as fn(&str, Lines) -> _),
        ("/lib/apk/db/installed", apk),
        ("/usr/lib/apk/db/installed", apk),
    ] {
        match filesystem::open_regular(Path::new(path)) {
            Ok(file) => {
                is_known = true;
                let found = read(name, BufReader::new(file).lines()).map_err(|error| cannot(path, error))?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(cannot(path, error)),
        }
    }
    if ["/var/lib/rpm", "/usr/lib/sysimage/rpm"].iter().any(|folder| Path::new(folder).is_dir()) {
        return rpm(name, deadline);
    }
    match is_known {
        true => Ok(None),
        false => Err(Reason::Error(format!(
            "cannot look for the package {name}: this host has no database of dpkg, apk or rpm"
        ))),
    }
}

type Lines = io::Lines<BufReader<File>>;

/// The paragraphs of a database, each as its lines.
fn paragraphs(lines: impl Iterator<Item = io::Result<String>>) -> impl Iterator<Item = io::Result<Vec<String>>> {
    let mut lines = lines;
    std::iter::from_fn(move || {
        let mut paragraph = Vec::new();
        for line in lines.by_ref() {
            match line {
                Ok(line) if line.is_empty() && paragraph.is_empty() => {}
                Ok(line) if line.is_empty() => return Some(Ok(paragraph)),
                Ok(line) => paragraph.push(line),
                Err(error) => return Some(Err(error)),
            }
        }
        (!paragraph.is_empty()).then_some(Ok(paragraph))
    })
}

fn field<'a>(paragraph: &'a [String], name: &str) -> &'a str {
    paragraph.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
}

/// The name may have an architecture behind it: `libc6:amd64`.
fn dpkg(name: &str, lines: impl Iterator<Item = io::Result<String>>) -> io::Result<Option<Package>> {
    let (name, architecture) = name.split_once(':').map_or((name, None), |(name, of)| (name, Some(of)));
    let mut broken = None;
    for paragraph in paragraphs(lines) {
        let paragraph = paragraph?;
        let is_of = |wanted: &str| field(&paragraph, "Architecture") == wanted;
        if field(&paragraph, "Package") != name || !architecture.is_none_or(is_of) {
            continue;
        }
        // What is wanted, what is wrong, and what there is.
        let status: Vec<_> = field(&paragraph, "Status").split(' ').collect();
        let version = field(&paragraph, "Version").to_owned();
        match status[..] {
            [_, "ok", "installed"] => return Ok(Some(Package { version, broken: None })),
            // Removed, but for its settings.
            [_, _, "config-files" | "not-installed"] => {}
            [_, "ok", state] => broken = Some(Package { version, broken: Some(state.to_owned()) }),
            [_, flag, state] => broken = Some(Package { version, broken: Some(format!("{state} ({flag})")) }),
            _ => return Err(io::Error::other(format!("the status of {name} in it cannot be understood"))),
        }
    }
    Ok(broken)
}

fn apk(name: &str, lines: impl Iterator<Item = io::Result<String>>) -> io::Result<Option<Package>> {
    for paragraph in paragraphs(lines) {
        let paragraph = paragraph?;
        if field(&paragraph, "P") == name {
            return Ok(Some(Package { version: field(&paragraph, "V").to_owned(), broken: None }));
        }
    }
    Ok(None)
}

/// Asks rpm, whose database is not for others to read.
fn rpm(name: &str, deadline: Deadline) -> Result<Option<Package>> {
    const FORMAT: &str = "%{VERSION}-%{RELEASE}\n";
    let args = ["-q", "--queryformat", FORMAT, "--", name];
    let said = program::ask(&["/usr/bin/rpm", "/bin/rpm"], &args, deadline)?;
    match (said.code, said.stdout.lines().next(), said.stderr.trim()) {
        (0, Some(version), _) if !version.is_empty() => Ok(Some(Package { version: version.to_owned(), broken: None })),
        // It says so on its standard output, in the language of this host.
        (1, Some(_), "") => Ok(None),
        (code, _, why) => Err(Reason::Error(format!("cannot ask rpm for {name}: it ended with {code}: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DPKG: &str = "Package: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3.134\nConffiles:\n /etc/adduser.conf x\n\n\
        Package: nginx\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1.22.1-9\n\n\
        Package: libc6\nStatus: hold ok installed\nArchitecture: i386\nVersion: 2.36-8\n\n\
        Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\n\
        Package: broken\nStatus: install ok half-configured\nVersion: 1\n\n\
        Package: worse\nStatus: install reinstreq half-installed\nVersion: 2\n\n\
        Package: strange\nStatus: yes\nVersion: 3\n";

    fn lines(text: &str) -> impl Iterator<Item = io::Result<String>> {
        text.lines().map(|line| Ok(line.to_owned()))
    }

    #[test]
    fn dpkg_has_what_is_installed_and_not_what_was_removed() {
        let of = |name| dpkg(name, lines(DPKG)).expect("it can be understood");
        let whole = |version: &str| Some(Package { version: version.to_owned(), broken: None });
        let broken =
            |version: &str, why: &str| Some(Package { version: version.to_owned(), broken: Some(why.to_owned()) });
        assert_eq!(of("adduser"), whole("3.134"));
        assert_eq!(of("nginx"), None);
        assert_eq!(of("add"), None);
        assert_eq!(of("libc6"), whole("2.36-8"));
        assert_eq!(of("libc6:amd64"), whole("2.36-9"));
        assert_eq!(of("libc6:arm64"), None);
        assert_eq!(of("broken"), broken("1", "half-configured"));
        assert_eq!(of("worse"), broken("2", "half-installed (reinstreq)"));
        assert!(dpkg("strange", lines(DPKG)).is_err());
    }

    #[test]
    fn apk_has_a_paragraph_for_each() {
        let text = "C:Q1x=\nP:musl\nV:1.2.4-r2\nA:x86_64\n\nC:Q1y=\nP:busybox\nV:1.36.1-r5\n";
        let found = apk("busybox", lines(text)).expect("it can be read");
        assert_eq!(found, Some(Package { version: "1.36.1-r5".into(), broken: None }));
        assert_eq!(apk("mus", lines(text)).expect("it can be read"), None);
    }

    #[test]
    fn wrong_options_are_refused() {
        for (target, pairs, text) in [
            ("", &[][..], "the target is not the name of a package"),
            ("-q", &[][..], "the target is not the name of a package"),
            ("a*", &[][..], "the target is not the name of a package"),
            ("nginx", &[("match", "(")][..], "option match: "),
        ] {
            let error = build(target, &mut Options::of(pairs)).err().unwrap_or_default();
            assert!(error.starts_with(text), "{error}");
        }
    }
}
