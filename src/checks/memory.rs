//! `memory:#available=10%`: enough memory is left, on this host and within our control group.

use std::fs;
use std::io;
use std::path::Path;

use super::support::thresholds::{self, Good};
use super::{Action, Kind, Opt, Options, Runs, Value, nothing_behind};
use crate::model::amount::{self, Amount};
use crate::model::check::{Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use crate::os::cgroup::{self, Version};

pub(super) const KIND: Kind = Kind {
    scheme: "memory",
    port: None,
    options: &[
        Opt::new("available", Value::Amount, "So much has to be available without swapping").or("10%"),
        Opt::new("warn_available", Value::Amount, "With less available than this, it warns"),
    ],
    runs: Runs::Inline,
    controls: Control::HOST,
    title: "Enough memory is available",
    passes: "enough memory is available",
    notices: &["gone", "full", "starved"],
    examples: &["memory:#available=500MiB"],
    build,
};

const MEMINFO: &str = "/proc/meminfo";

fn build(target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    nothing_behind("memory", target)?;
    let least = options.parse_or("available", "10%", Amount::of_bytes)?;
    let warn = options.parse("warn_available", Amount::of_bytes)?;
    thresholds::verify(Good::Above, "available", Some((&least, least.to_string())), warn.as_ref())?;
    Ok(Box::new(move |_| match Memory::now() {
        Ok(memory) => {
            let finding = Finding { perfdata: memory.perfdata(), ..Finding::from(memory.verdict(least)) };
            thresholds::judged(finding, || warn.map_or(Ok(()), |least| memory.verdict(least)))
        }
        Err(reason) => Finding::from(Err(reason)),
    }))
}

/// Asserts that at least this much memory is available without swapping; a percentage is of the total. Where one of our
/// control groups leaves less than the host has, that group and its limit count.
///
/// # Errors
///
/// `Fail` when there is less, `Error` when it cannot be read.
#[must_use = "the finding is in the result: return it, or write `?` behind it"]
pub fn assert_memory(available: Amount) -> Result {
    Memory::now()?.verdict(available)
}

/// How much memory there is, in bytes, and the source of these figures.
#[derive(Clone, Debug, PartialEq)]
struct Memory {
    total: u64,
    available: u64,
    source: String,
}

impl Memory {
    fn now() -> Result<Memory> {
        let text = fs::read_to_string(MEMINFO).map_err(|error| Reason::Error(format!("{MEMINFO}: {error}")))?;
        let host = meminfo(&text)
            .ok_or_else(|| Reason::Error(format!("{MEMINFO} has no MemTotal and MemAvailable (Linux 3.14 has)")))?;
        // Without control groups there are no limits from them.
        let found = cgroup::membership().and_then(|groups| tightest(host, Path::new(cgroup::MOUNT), &groups));
        found.map_err(|error| Reason::Error(format!("cannot read the limits of our control groups: {error}")))
    }

    fn verdict(&self, least: Amount) -> Result {
        if least.is_reached_by(self.available, self.total) {
            return Ok(());
        }
        Err(Reason::Fail(format!(
            "expected at least {least} of memory to be available, got {} ({:.1}% of {}) from {}",
            amount::spoken(self.available),
            amount::share(self.available, self.total),
            amount::spoken(self.total),
            self.source
        )))
    }

    fn perfdata(&self) -> Vec<Perfdata> {
        vec![
            Perfdata::new("available", self.available as f64, "B"),
            Perfdata::new("total", self.total as f64, "B"),
            Perfdata::new("used", amount::used(self.available, self.total), "%"),
        ]
    }
}

fn meminfo(text: &str) -> Option<Memory> {
    let kibibytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { total: kibibytes("MemTotal")?, available: kibibytes("MemAvailable")?, source: MEMINFO.to_owned() })
}

/// The memory of the host or of one of our control groups, whichever has less available: that runs out first.
fn tightest(host: Memory, mount: &Path, membership: &str) -> io::Result<Memory> {
    let groups = cgroup::groups(mount, membership, "memory").map(|(group, version)| match version {
        Version::One => V1.read(&group),
        Version::Two => V2.read(&group),
    });
    groups.filter_map(Result::transpose).try_fold(host, |tightest, group| {
        let group = group?;
        Ok(if group.available < tightest.available { group } else { tightest })
    })
}

/// The names of the files in one version of control groups.
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// The fields of `memory.stat` for what the kernel takes back when memory becomes scarce. The host's MemAvailable
    /// counts the same.
    reclaimable: &'static [&'static str],
}

const V1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: &["total_active_file", "total_inactive_file"],
};
const V2: GroupFiles = GroupFiles {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: &["active_file", "inactive_file", "slab_reclaimable"],
};

impl GroupFiles {
    /// What a group may use, if it has a limit.
    fn read(&self, group: &Path) -> io::Result<Option<Memory>> {
        let read = |name: &str| {
            let path = group.join(name);
            fs::read_to_string(&path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let number = |text: &str| text.trim().parse::<u64>().map_err(io::Error::other);
        let total = match read(self.limit) {
            // It is the root of all groups, or it is not mounted.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            // In version 2, there is no limit.
            Ok(limit) if limit.trim() == "max" => return Ok(None),
            limit => number(&limit?)?,
        };
        let usage = number(&read(self.usage)?)?;
        let statistics = read("memory.stat")?;
        let fields = statistics.lines().filter_map(|line| line.split_once(' '));
        let reclaimable = fields.filter(|(name, _)| self.reclaimable.contains(name));
        let reclaimable: u64 = reclaimable.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum();
        let available = total.saturating_sub(usage.saturating_sub(reclaimable));
        Ok(Some(Memory { total, available, source: group.join(self.limit).display().to_string() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{Deadline, Status};
    use std::time::Instant;

    const SAMPLE: &str = "MemTotal:        8000 kB\nMemFree:          100 kB\nMemAvailable:    4000 kB\n";

    fn host() -> Memory {
        meminfo(SAMPLE).expect("the sample is well formed")
    }

    /// A tree of control groups: the names of its files and their contents.
    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let mount = tempfile::tempdir().expect("there is room");
        for (name, text) in files {
            let path = mount.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        }
        mount
    }

    fn found(files: &[(&str, &str)], membership: &str) -> (u64, u64) {
        let memory = tightest(host(), mounted(files).path(), membership).expect("all can be read");
        (memory.available, memory.total)
    }

    #[test]
    fn meminfo_is_read_as_the_kernel_writes_it() {
        assert_eq!((host().available, host().total), (4000 * 1024, 8000 * 1024));
        assert_eq!(meminfo("MemTotal: 8000 kB\nMemFree: 100 kB\n"), None);
        assert_eq!(meminfo("MemTotal: many kB\nMemAvailable: 100 kB\n"), None);
    }

    #[test]
    fn the_limit_of_a_control_group_counts_where_it_is_lower() {
        let v2 = [
            ("shop/db/memory.max", "max\n"),
            ("shop/memory.max", "1000000\n"),
            ("shop/memory.current", "700000\n"),
            ("shop/memory.stat", "anon 5\ninactive_file 60000\nactive_file 39000\nslab_reclaimable 1000\n"),
        ];
        assert_eq!(found(&v2, "0::/shop/db\n"), (400_000, 1_000_000));
        let v1 = [
            ("memory/shop/memory.limit_in_bytes", "1000000\n"),
            ("memory/shop/memory.usage_in_bytes", "999000\n"),
            ("memory/shop/memory.stat", "inactive_file 9\ntotal_inactive_file 400\ntotal_active_file 100\n"),
        ];
        assert_eq!(found(&v1, "5:cpu,cpuacct:/\n4:memory:/shop\n0::/\n"), (1500, 1_000_000));
    }

    #[test]
    fn a_container_that_is_told_the_path_on_its_host_finds_its_own_limit() {
        let files = [
            ("memory/memory.limit_in_bytes", "1000\n"),
            ("memory/memory.usage_in_bytes", "400\n"),
            ("memory/memory.stat", ""),
        ];
        assert_eq!(found(&files, "4:memory:/docker/0123abcd\n"), (600, 1000));
    }

    #[test]
    fn a_group_without_a_limit_has_that_of_the_host() {
        let host = (4000 * 1024, 8000 * 1024);
        assert_eq!(found(&[], ""), host);
        assert_eq!(found(&[("memory.max", "max"), ("memory.current", "1")], "0::/"), host);
        let unlimited = [
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
            ("memory/memory.usage_in_bytes", "1"),
            ("memory/memory.stat", ""),
        ];
        assert_eq!(found(&unlimited, "4:memory:/"), host);
    }

    #[test]
    fn a_host_with_less_left_than_the_group_may_use_counts_as_the_host() {
        let files = [("memory.max", "8000000"), ("memory.current", "0"), ("memory.stat", "")];
        assert_eq!(found(&files, "0::/"), (4000 * 1024, 8000 * 1024));
    }

    #[test]
    fn a_group_of_which_a_part_cannot_be_read_is_not_taken_for_one_without_a_limit_or_a_cache() {
        let all = [("memory.max", "8000"), ("memory.current", "7000"), ("memory.stat", "inactive_file 6000\n")];
        assert_eq!(found(&all, "0::/"), (7000, 8000));
        for (missing, bad) in [(1, None), (2, None), (0, Some("many")), (1, Some("many"))] {
            let mut files = all.to_vec();
            let file = files.remove(missing);
            files.extend(bad.map(|text| (file.0, text)));
            assert!(tightest(host(), mounted(&files).path(), "0::/").is_err(), "{files:?}");
        }
    }

    #[test]
    fn too_little_is_said_with_what_there_is_and_where() {
        assert_eq!(host().verdict(Amount::Percent(50.0)), Ok(()));
        assert_eq!(
            host().verdict(Amount::Bytes(5 << 20)),
            Err(Reason::Fail(
                "expected at least 5 MiB of memory to be available, got 3.9 MiB (50.0% of 7.8 MiB) from /proc/meminfo"
                    .into()
            ))
        );
    }

    #[test]
    fn the_memory_of_this_host_is_found_with_its_figures() {
        let action = build("", &mut Options::new(vec![("available".into(), "1B".into())])).expect("it is well formed");
        let found = action(Deadline::at(Instant::now()));
        assert_eq!((found.status, found.context), (Status::Pass, None));
        assert!(found.perfdata[0].value > 0.0 && found.perfdata[0].value <= found.perfdata[1].value);
    }
}
