//! A folder of checks, by the rules of run-parts(8): TOML files and executables, in the order of their names.

use std::fmt::Display;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::spec::Spec;
use super::{CollectedCheck, Collector, file};
use crate::checks::support::ownership::{self, Distrust};
use crate::checks::{self, Options};
use crate::error::Error;
use crate::os::filesystem::read_place;
use crate::os::walk::{self, Place};

/// Collects from a path: a folder or one file.
pub(super) fn collect(path: &Path, place: &Place, collector: &mut Collector<'_>) -> Result<(), Error> {
    ownership::verify(path, place)?;
    if !place.metadata.is_dir() {
        return part(path, place, collector);
    }
    for name in place.names().map_err(|error| failed(path, error))? {
        let entry = path.join(name);
        if is_hidden(&entry) {
            continue;
        }
        if !is_part(&entry) {
            collector.leave_out(&entry, "its name has more than letters, digits, '_' and '-' before .toml or the end");
            continue;
        }
        match collector.look(&entry) {
            Err(Distrust::Unseen(error)) if walk::leads_nowhere(&error) => {
                collector.leave_out(&entry, "it is a link to nothing")
            }
            Err(distrust) => return Err(distrust.error(entry.display(), |error| failed(&entry, error))),
            Ok(part) if part.metadata.is_dir() => collector.leave_out(&entry, "it is a folder"),
            Ok(part) if part.metadata.is_file() && !is_toml(&entry) && !is_executable(&part.metadata) => {
                collector.leave_out(&entry, "it is not executable (chmod +x)");
            }
            Ok(part) if part.metadata.is_file() => {
                ownership::verify(&entry, &part)?;
                self::part(&entry, &part, collector)?;
            }
            Ok(_) => collector.leave_out(&entry, "it is not a file"),
        }
    }
    Ok(())
}

fn failed(path: &Path, error: impl Display) -> Error {
    Error::Usage(format!("{}: {error}", path.display()))
}

/// Whether nobody would expect it to be a check, as with `..data` in a volume of Kubernetes.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Letters, digits, `_` and `-`: files left behind by editors and package managers have other characters.
fn is_part(path: &Path) -> bool {
    let name = if is_toml(path) { path.file_stem() } else { path.file_name() };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    name.and_then(|name| name.to_str()).is_some_and(|name| !name.is_empty() && name.bytes().all(plain))
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o111 != 0
}

fn part(path: &Path, place: &Place, collector: &mut Collector<'_>) -> Result<(), Error> {
    if is_toml(path) {
        let text = read_place(place).map_err(|error| failed(path, error))?;
        return file::collect(path, &text, collector);
    }
    if !place.metadata.is_file() || !is_executable(&place.metadata) {
        return Err(failed(path, "it is neither a folder, nor *.toml, nor executable"));
    }
    let (Some(name), Some(target)) = (path.file_name().and_then(|name| name.to_str()), path.to_str()) else {
        return Err(failed(path, "its path is not UTF-8"));
    };
    let spec = Spec {
        label: Some(name.to_owned()),
        scheme: checks::of_program(name).scheme.to_owned(),
        // The grammar decodes targets, and this is a plain path.
        target: target.replace('%', "%25"),
        options: Options::default(),
    };
    let (check, _) = collector.build(spec).map_err(|why| failed(path, why))?;
    collector.found.push(CollectedCheck { check, from: path.display().to_string(), registered: false });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::collect as collect_names;
    use super::*;
    use crate::collect::Surroundings;
    use crate::model::suite::Suite;
    use std::fs;
    use tempfile::TempDir;

    const CHECK: &str = "[[check]]\nuse = 'tcp://db:1'\n";

    fn folder(files: &[(&str, &str, u32)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for (name, text, mode) in files {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("the folder is ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("the file is ours");
        }
        folder
    }

    fn collect_folder(folder: &TempDir) -> Result<Suite, Error> {
        collect_names(&[folder.path().to_str().expect("a plain path")], "HEALTHCHECKS")
    }

    fn ids(suite: &Suite) -> Vec<&str> {
        suite.checks().iter().map(|check| check.id.as_str()).collect()
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names_and_leftovers_are_not() {
        let named = |name: &str| format!("[[check]]\nname = '{name}'\nuse = 'tcp://db:1'\n");
        let folder = folder(&[
            ("20-b.toml", &named("b"), 0o644),
            ("10-a.toml", &named("a"), 0o644),
            ("30.toml.dpkg-old", CHECK, 0o644),
            (".#40.toml", CHECK, 0o644),
            ("50.toml~", CHECK, 0o644),
            ("script.sh", "", 0o755),
            ("README", "", 0o644),
        ]);
        assert_eq!(ids(&collect_folder(&folder).expect("two are good")), ["a", "b"]);
    }

    #[test]
    fn an_executable_is_a_check_with_its_name_and_a_plugin_if_it_is_called_like_one() {
        let folder = folder(&[("check_it", "#!/bin/sh\n", 0o755), ("recheck_it", "#!/bin/sh\n", 0o755)]);
        let suite = collect_folder(&folder).expect("programs are enough");
        let found: Vec<_> = suite.checks().iter().map(|check| (check.id.as_str(), check.kind)).collect();
        assert_eq!(found, [("check_it", "plugin"), ("recheck_it", "exec")]);
    }

    #[test]
    fn a_link_that_leads_nowhere_leaves_the_rest_of_the_folder_usable() {
        let folder = folder(&[("a.toml", CHECK, 0o644)]);
        for (name, to) in [("gone.toml", "nowhere"), ("loop.toml", "loop.toml"), ("through.toml", "a.toml/x")] {
            std::os::unix::fs::symlink(to, folder.path().join(name)).expect("the folder is ours");
        }
        let surroundings = Surroundings::default();
        let mut collector = Collector::new(&surroundings, "HEALTHCHECKS");
        let place = collector.look(folder.path()).expect("the folder is ours");
        collect(folder.path(), &place, &mut collector).expect("one is good");
        assert_eq!(collector.found.len(), 1);
        let noted = ["gone", "loop", "through"]
            .map(|name| format!("{}/{name}.toml is not a check: it is a link to nothing", folder.path().display()));
        assert_eq!(collector.notes, noted);
    }

    #[test]
    fn a_folder_without_checks_is_an_error() {
        let error = collect_folder(&folder(&[("script.sh", "", 0o755)])).expect_err("nothing counts");
        assert!(error.to_string().contains("it holds no check: a folder needs"), "{error}");
    }

    #[test]
    fn one_file_is_named_by_itself() {
        let folder = folder(&[("any name.toml", CHECK, 0o644), ("README", "", 0o644)]);
        let path = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
        assert_eq!(ids(&collect_names(&[path("any name.toml")], "x").expect("it is good")), ["tcp://db:1"]);
        let error = collect_names(&[path("README")], "x").expect_err("it is not a file of checks");
        assert!(error.to_string().ends_with("it is neither a folder, nor *.toml, nor executable"), "{error}");
    }

    #[test]
    #[ignore = "needs root"]
    fn what_others_may_write_is_refused() {
        let folder = folder(&[("a.toml", CHECK, 0o666)]);
        let error = collect_folder(&folder).expect_err("others may write the file");
        assert!(error.to_string().contains("a.toml: refused"), "{error}");
        assert_eq!(error.code(), 5);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).expect("the folder is ours");
        let error = collect_folder(&folder).expect_err("others may add files");
        assert!(!error.to_string().contains("a.toml"), "{error}");

        let program = folder.path().join("check_it");
        fs::write(&program, "").expect("the folder is ours");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).expect("the file is ours");
        let error = collect_names(&[format!("exec:{}", program.display())], "x").expect_err("others may change it");
        assert_eq!(error.code(), 5);
    }
}
