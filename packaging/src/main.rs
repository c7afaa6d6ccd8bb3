//! Writes what a package contains besides the program: manual pages and shell completions, from the definition of the
//! command line. A program of its own, so that its dependencies are not those of `hospital`.
//!
//! `hospital-packaging DIRECTORY DATE` fills `DIRECTORY/man` and `DIRECTORY/completions`; the pages bear the date.

use std::path::Path;
use std::{fs, io};

use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [directory, date] = &arguments[..] else {
        return Err(io::Error::other("usage: hospital-packaging DIRECTORY DATE"));
    };
    pages(&Path::new(directory).join("man"), date)?;
    completions(&Path::new(directory).join("completions"))
}

/// One page for the program, and one for each subcommand.
fn pages(folder: &Path, date: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Nobody reads about the `help` command that clap adds.
    let mut program = hospital::command().disable_help_subcommand(true);
    program.build();
    let subcommands: Vec<_> = program.get_subcommands().cloned().collect();
    let name_of = |command: &Command| command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let source = format!("hospital {}", program.get_version().unwrap_or_default());
    let names: Vec<_> = [&program].into_iter().chain(&subcommands).map(name_of).collect();
    for (command, name) in [&program].into_iter().chain(&subcommands).zip(&names) {
        let man =
            Man::new(command.clone()).title(name.to_uppercase()).date(date).source(&source).manual("User Commands");
        let mut page = Vec::new();
        man.render(&mut page)?;
        page.extend(see_also(names.iter().filter(|other| *other != name)).into_bytes());
        fs::write(folder.join(format!("{name}.1")), page)?;
    }
    Ok(())
}

/// The last section of a page.
fn see_also<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let references: Vec<_> = names.map(|name| format!(".BR {} (1)", name.replace('-', "\\-"))).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", references.join(",\n"))
}

/// One file for each shell that packages support, under the name that the shell looks for.
fn completions(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut hospital::command(), "hospital", folder)?;
    }
    Ok(())
}
