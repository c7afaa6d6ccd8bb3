//! `man` and bash accept the manual pages and the completions.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

#[test]
fn each_subcommand_has_a_page_with_every_flag_of_its_help() {
    let folder = made();
    let mut program = hospital::command().disable_help_subcommand(true);
    program.build();
    for command in program.get_subcommands() {
        let subcommand = command.get_name();
        let page = read(&folder, &format!("man/hospital-{subcommand}.1")).replace("\\-", "-");
        let flags: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        assert!(!flags.is_empty());
        for flag in flags {
            assert!(page.contains(&format!("--{flag}")), "the page of {subcommand} does not tell of --{flag}");
        }
        assert!(page.contains(".BR hospital (1)"), "it refers to the page of the program");
        assert!(page.contains("2026-11-23"), "it bears its date");
    }
}

#[test]
fn the_same_pages_come_out_again() {
    let (once, again) = (made(), made());
    for name in ["man/hospital.1", "man/hospital-serve.1", "completions/hospital.bash", "completions/_hospital"] {
        assert_eq!(read(&once, name), read(&again, name));
    }
}

#[test]
#[ignore = "needs man, mandoc"]
fn man_and_mandoc_have_nothing_to_say_against_a_page() {
    let folder = made();
    let pages: Vec<_> = std::fs::read_dir(folder.path().join("man")).expect("it was made").flatten().collect();
    assert_eq!(pages.len(), 1 + hospital::command().get_subcommands().count());
    for page in pages {
        let mut mandoc = Command::new("mandoc");
        // clap_mangen writes a break before a space, which both programs take for a single one.
        assert_eq!(said(mandoc.args(["-T", "lint", "-W", "error"]).arg(page.path())), "");
        let mut man = Command::new("man");
        let told = said(man.args(["--warnings", "--local-file"]).arg(page.path()).env("MANWIDTH", "80"));
        assert!(told.contains("SYNOPSIS") && told.contains("SEE ALSO"), "{told}");
    }
}

#[test]
fn bash_completes_subcommands_flags_and_values() {
    let folder = made();
    let complete = |words: &str| {
        let script = format!(
            "set -eu; source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _hospital hospital \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
            folder.path().join("completions/hospital.bash").display()
        );
        said(Command::new("bash").args(["--norc", "-c", &script])).trim().to_owned()
    };
    assert_eq!(complete("hospital se"), "serve");
    assert_eq!(complete("hospital serve --max-requests-"), "--max-requests-jitter");
    assert_eq!(complete("hospital serve --log-format ''"), "text json");
}

/// The pages and completions, in a folder of their own.
#[track_caller]
fn made() -> TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    let mut packaging = Command::new(env!("CARGO_BIN_EXE_hospital-packaging"));
    assert_eq!(said(packaging.arg(folder.path()).arg("2026-11-23")), "");
    folder
}

fn read(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(Path::new(folder.path()).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What a command prints; it must succeed without warnings.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    let (said, warned) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success() && warned.is_empty(), "{command:?}: {said}{warned}");
    said
}
