//! `disk:/var#free=10%&inodes=5%`: a file system has room.

use std::path::{Path, PathBuf};

use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value};
use crate::model::amount::{self, Amount};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use crate::os::filesystem::{self, Mount, Room};

pub(super) const KIND: Kind = Kind {
    scheme: "disk",
    port: None,
    options: &[
        Opt::new("free", Value::Amount, "So much has to be free").or("10%"),
        Opt::new("warn_free", Value::Amount, "With less free than this, it warns"),
        Opt::new("inodes", Value::Amount, "So many inodes have to be free, as a share or as a number above 100"),
        Opt::new("warn_inodes", Value::Amount, "With fewer inodes free than this, it warns"),
        Opt::new(
            "mounted",
            Value::Word(&["true", "rw", "false"]),
            "It has to be mounted at this very path, and with rw, not read-only",
        ),
    ],
    // A network file system whose server is down only answers when that comes back.
    runs: Runs::OnThread,
    controls: Control::HOST,
    title: "{target} has room",
    passes: "enough of a file system is free",
    notices: &["gone", "full"],
    examples: &["disk:/var#free=5GiB&inodes=5%"],
    build,
};

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    if !target.starts_with('/') {
        return Err("the target is not an absolute path, as in disk:/var".to_owned());
    }
    let path = PathBuf::from(target);
    let free = options.parse_or("free", "10%", Amount::of_bytes)?;
    let inodes = options.parse("inodes", Amount::of_things)?;
    let warn_free = options.parse("warn_free", Amount::of_bytes)?;
    let warn_inodes = options.parse("warn_inodes", Amount::of_things)?;
    let told = |amount: &Amount| amount.to_string();
    thresholds::verify(Good::Above, "free", Some((&free, told(&free))), warn_free.as_ref())?;
    thresholds::verify(Good::Above, "inodes", inodes.as_ref().map(|it| (it, told(it))), warn_inodes.as_ref())?;
    let warn_free = warn_free.unwrap_or(Amount::Bytes(0));
    let mounted = options.parse("mounted", Mounted::parse)?.unwrap_or(Mounted::Any);
    Ok(Box::new(move |_| match Disk::of(&path) {
        Ok(disk) => {
            let verdict = mounted.verdict(&path).and_then(|()| disk.verdict(free, inodes));
            let finding = Finding { perfdata: disk.perfdata(), ..Finding::from(verdict) };
            thresholds::judged(finding, || disk.verdict(warn_free, warn_inodes))
        }
        Err(reason) => Finding::from(Err(reason)),
    }))
}

/// Asserts that the file system of `path` has at least this much room, and this many inodes, for unprivileged users. A
/// percentage is of what they can use, as in the output of df.
///
/// # Errors
///
/// `Fail` when there is less, `Error` when it cannot be determined.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_disk(path: impl AsRef<Path>, free: Amount, inodes: Option<Amount>) -> Result {
    Disk::of(path.as_ref())?.verdict(free, inodes)
}

/// What is asked of the mount, beside its room.
#[derive(Clone, Copy)]
enum Mounted {
    /// Nothing: the file system that holds the path counts, wherever it is mounted.
    Any,
    /// It is mounted at this very path.
    Here,
    /// So it is, and the file system can be written to: after an error the kernel may have made it read-only.
    Writable,
}

impl Mounted {
    fn parse(text: &str) -> std::result::Result<Mounted, &'static str> {
        match text {
            "" | "true" => Ok(Mounted::Here),
            "rw" => Ok(Mounted::Writable),
            "false" => Ok(Mounted::Any),
            _ => Err("write true, or rw if it must be writable"),
        }
    }

    fn verdict(self, path: &Path) -> Result {
        if matches!(self, Mounted::Any) {
            return Ok(());
        }
        let shown = path.display();
        let cannot = |error| Reason::Error(format!("cannot find out what is mounted at {shown}: {error}"));
        self.allows(&Mount::of(path).map_err(cannot)?)
            .map_err(|why| Reason::Fail(format!("expected a file system to be mounted at {shown}, {why}")))
    }

    fn allows(self, mount: &Mount) -> std::result::Result<(), &'static str> {
        match self {
            Mounted::Any => Ok(()),
            Mounted::Here | Mounted::Writable if !mount.is_here => Err("and none is"),
            Mounted::Writable if mount.is_read_only => Err("and to be writable, but it is read-only"),
            Mounted::Here | Mounted::Writable => Ok(()),
        }
    }
}

struct Disk<'a> {
    path: &'a Path,
    room: Room,
}

impl Disk<'_> {
    fn of(path: &Path) -> Result<Disk<'_>> {
        let cannot =
            |why: String| Reason::Error(format!("cannot measure the file system of {}: {why}", path.display()));
        let room = filesystem::room(path).map_err(|error| cannot(error.to_string()))?;
        if room.bytes.total == 0 {
            return Err(cannot("it has no size of its own".to_owned()));
        }
        Ok(Disk { path, room })
    }

    fn verdict(&self, free: Amount, inodes: Option<Amount>) -> Result {
        let Room { bytes, inodes: nodes } = self.room;
        let mut wrong = Vec::new();
        if !free.is_reached_by(bytes.free, bytes.total) {
            let (left, total) = (amount::spoken(bytes.free), amount::spoken(bytes.total));
            let share = amount::share(bytes.free, bytes.total);
            wrong.push(format!("expected at least {free} free, got {left} ({share:.1}% of {total})"));
        }
        // Some file systems create inodes as needed, and report a total of none.
        if let Some(least) = inodes
            && nodes.total > 0
            && !least.is_reached_by(nodes.free, nodes.total)
        {
            let share = amount::share(nodes.free, nodes.total);
            wrong.push(format!(
                "expected at least {least} inodes free, got {} ({share:.1}% of {})",
                nodes.free, nodes.total
            ));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Reason::Fail(format!("{}, on the file system of {}", wrong.join(" and "), self.path.display())))
    }

    fn perfdata(&self) -> Vec<Perfdata> {
        let Room { bytes, inodes } = self.room;
        let mut figures = vec![
            Perfdata::new("free", bytes.free as f64, "B"),
            Perfdata::new("total", bytes.total as f64, "B"),
            Perfdata::new("used", amount::used(bytes.free, bytes.total), "%"),
        ];
        if inodes.total > 0 {
            figures.push(Perfdata::new("inodes_used", amount::used(inodes.free, inodes.total), "%"));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Amount = Amount::Percent(10.0);
    use crate::model::check::{Deadline, Status};
    use crate::os::filesystem::Share;
    use std::time::Instant;

    fn disk(free: u64, free_inodes: u64, inodes: u64) -> Disk<'static> {
        let room = Room {
            bytes: Share { free: free << 30, total: 100 << 30 },
            inodes: Share { free: free_inodes, total: inodes },
        };
        Disk { path: Path::new("/var"), room }
    }

    fn found(target: &str, options: &[(&str, &str)]) -> Finding {
        let pairs = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        build(target, &mut Options::new(pairs)).expect("it is well formed")(Deadline::at(Instant::now()))
    }

    #[test]
    fn both_what_is_free_and_what_is_left_of_inodes_count() {
        assert_eq!(disk(10, 5, 100).verdict(FREE, Some(Amount::Percent(5.0))), Ok(()));
        assert_eq!(
            disk(9, 4, 100).verdict(FREE, Some(Amount::Count(5))),
            Err(Reason::Fail(
                "expected at least 10% free, got 9 GiB (9.0% of 100 GiB) and expected at least 5 inodes free, \
                 got 4 (4.0% of 100), on the file system of /var"
                    .into()
            ))
        );
        assert!(disk(9, 100, 100).verdict(Amount::Bytes(10 << 30), None).is_err());
    }

    #[test]
    fn a_file_system_that_does_not_count_inodes_has_enough() {
        assert_eq!(disk(50, 0, 0).verdict(FREE, Some(Amount::Percent(5.0))), Ok(()));
    }

    #[test]
    fn the_root_file_system_is_measured_with_its_figures() {
        let found = found("/", &[("free", "0%")]);
        assert_eq!((found.status, found.context), (Status::Pass, None));
        assert!(found.perfdata[0].value <= found.perfdata[1].value);
        assert!((0.0..=100.0).contains(&found.perfdata[2].value));
    }

    #[test]
    fn more_than_there_is_fails_and_keeps_the_figures() {
        let found = found("/", &[("free", "16383PiB")]);
        assert_eq!(found.status, Status::Fail);
        assert!(found.context.is_some_and(|context| context.ends_with("on the file system of /")));
        assert!(!found.perfdata.is_empty());
    }

    #[test]
    fn what_has_no_size_is_an_error() {
        for path in ["/proc", "/no/such/folder"] {
            let found = found(path, &[]);
            assert_eq!(found.status, Status::Error, "{path}");
            assert!(found.context.is_some_and(|context| context.contains(path)));
        }
    }

    #[test]
    fn a_folder_where_nothing_is_mounted_is_not_measured_in_its_stead() {
        let room = ("free", "0%");
        assert_eq!(found("/", &[room, ("mounted", "true")]).status, Status::Pass);
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().display().to_string();
        assert_eq!(found(&path, &[room]).status, Status::Pass);
        let found = found(&path, &[room, ("mounted", "rw")]);
        assert_eq!(found.status, Status::Fail);
        assert!(found.context.is_some_and(|context| context.starts_with("expected a file system to be mounted at /")));
    }

    #[test]
    fn only_a_file_system_that_can_be_written_to_is_mounted_rw() {
        let mount = |is_here, is_read_only| Mount { is_here, is_read_only, ..Mount::default() };
        let read_only = mount(true, true);
        assert_eq!(Mounted::Writable.allows(&read_only), Err("and to be writable, but it is read-only"));
        assert_eq!(Mounted::Here.allows(&read_only), Ok(()));
        assert_eq!(Mounted::Writable.allows(&mount(true, false)), Ok(()));
        assert_eq!(Mounted::Here.allows(&mount(false, false)), Err("and none is"));
    }

    #[test]
    fn a_wrong_path_or_amount_is_refused() {
        let free = |value: &str| build("/", &mut Options::new(vec![("free".into(), value.into())])).err();
        assert!(build("var", &mut Options::default()).is_err());
        assert!(free("lots").is_some_and(|error| error.starts_with("option free: write a size")));
        assert!(free("110%").is_some_and(|error| error.contains("from 0% to 100%")));
    }
}
