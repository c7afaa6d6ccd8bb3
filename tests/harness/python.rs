//! Modules of Python, and hospital with the Python of this machine.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::Launch;
use super::once::{self, Run};

/// A folder with these files, where Python finds its modules.
pub(crate) fn modules(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    files.iter().for_each(|(name, text)| write(folder.path(), name, text));
    folder
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("it is in the folder")).expect("the folder is ours");
    fs::write(path, text).expect("the folder is ours");
}

/// `hospital VERB ARGS` with Python, in a folder.
pub(crate) fn hospital(verb: &str, folder: &TempDir, args: &[&str]) -> Run {
    let mut command = once::hospital(verb);
    command.args(args).current_dir(folder.path()).env("HOSPITAL_PYTHON", "python3").env("PYTHONDONTWRITEBYTECODE", "1");
    once::run(command)
}

/// A daemon that serves these names.
pub(crate) fn serve(folder: &TempDir, names: &str) -> Launch {
    Launch::serve(["--python", "python3"])
        .env("HEALTHCHECKS", names)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path())
}
