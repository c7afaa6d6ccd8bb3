//! The settings of the daemon: one field, one flag `--foo-bar`, one variable `HOSPITAL_FOO_BAR`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use hospital_http::MOST_FIELDS;

use super::address::{self, Address, DEFAULT_PORT};
use super::values::{AccessFormat, Details, LogFormat, LogLevel, mask, prefix, variable};
use crate::model::duration;
use crate::os::filesystem::absolute;
use crate::round::MOST_AT_ONCE;

/// Everything that can be set, validated. `docs/SETTINGS.md` is compared with it by a test.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) sockets: Sockets,
    #[command(flatten)]
    pub(crate) fleet: Workers,
    #[command(flatten)]
    pub(crate) times: Times,
    #[command(flatten)]
    pub(crate) process: Process,
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) answers: Answers,
}

/// Where to listen.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sockets")]
pub(crate) struct Sockets {
    /// Where to listen: HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N; repeatable
    #[arg(short, long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) bind: Vec<Address>,
    /// Listen on this host, where no --bind or --fd is given
    #[arg(long, value_name = "HOST", default_value = "0.0.0.0")]
    pub(crate) host: String,
    /// Listen on this port, where no --bind or --fd is given
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,
    /// Serve the listening socket that the parent left open as descriptor N (circus, supervisor)
    #[arg(long, value_name = "N", value_parser = address::parse_fd)]
    pub(crate) fd: Option<i32>,
    /// How many connections the kernel may queue
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) backlog: i32,
    /// Expect each connection to begin with the PROXY protocol, version 1 or 2, as proxies send it: on or off
    #[arg(long, value_name = "SWITCH", default_value = "off", action = ArgAction::Set, value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(crate) proxy_protocol: bool,
}

/// How many workers there are, and for how long.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Workers")]
pub(crate) struct Workers {
    /// How many workers to keep
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=MOST_WORKERS as i64))]
    pub(crate) workers: u16,
    /// The most connections that one worker keeps open
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) worker_connections: u32,
    /// The most checks that one worker runs at once; the time of each begins when it starts
    #[arg(short, long, value_name = "N", default_value_t = MOST_AT_ONCE as u16, value_parser = clap::value_parser!(u16).range(1..=MOST_AT_ONCE as i64))]
    pub(crate) jobs: u16,
    /// Replace a worker after this many requests; 0: never
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_requests: u64,
    /// Add up to this many requests, different for each worker
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_requests_jitter: u64,
}

/// How long things may take.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Times")]
pub(crate) struct Times {
    /// Replace a worker that has been busy for this long without a pause; 0: never
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// How long a worker may take to finish when it is told to
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub(crate) graceful_timeout: Duration,
    /// How long /readyz fails before the end begins
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration::parse)]
    pub(crate) drain_delay: Duration,
    /// How long a round of checks may take in all
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_some)]
    pub(crate) request_timeout: Duration,
    /// How long a client may take to send the head of a request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse_some)]
    pub(crate) header_timeout: Duration,
    /// How long an idle connection is kept for the next request
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = duration::parse)]
    pub(crate) keep_alive: Duration,
}

/// What the processes run as.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct Process {
    /// Write the master's pid to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pid: Option<PathBuf>,
    /// Write a newline to this descriptor when all workers can answer (s6)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    pub(crate) notify_fd: Option<i32>,
    /// Keep silences, beats, drills and what checks have found in this folder, over restarts
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Run the workers as this user, a name or a number, with its HOME, USER, LOGNAME and SHELL
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Run the workers as this group, a name or a number
    #[arg(short, long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// File mode creation mask, in octal
    #[arg(short = 'm', long, value_name = "MASK", default_value = "022", value_parser = mask)]
    pub(crate) umask: u32,
    /// Change to this directory before anything is read or opened
    #[arg(long, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Set a variable for the workers and their checks; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Run checks in Python with this interpreter; unless given, $VIRTUAL_ENV/bin/python
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) python: Option<PathBuf>,
    /// Read variables from this file, at the start and at each reload; -FILE: if it is there
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// What the processes are called
    #[arg(short, long, value_name = "NAME", default_value = "hospital")]
    pub(crate) name: String,
}

/// What is logged, and where.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct Log {
    /// Log each answer to this file, or with "-" to standard output; USR1 reopens it
    #[arg(long, value_name = "FILE")]
    pub(crate) access_logfile: Option<PathBuf>,
    /// How a line of the access log looks
    #[arg(long, value_name = "FORMAT", default_value = "combined")]
    pub(crate) access_logformat: AccessFormat,
    /// Log to this file instead of standard error, which is "-"; USR1 reopens it
    #[arg(long, aliases = ["log-file", "log-output"], value_name = "FILE")]
    pub(crate) error_logfile: Option<PathBuf>,
    /// The least important lines to log
    #[arg(long, value_name = "LEVEL", default_value = "info", ignore_case = true)]
    pub(crate) log_level: LogLevel,
    /// How a line looks
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// What is answered to whom.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Answers")]
pub(crate) struct Answers {
    /// Answer all requests, in all workers, from one round until its report is so old; 0: each from a round of its own
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration::parse)]
    pub(crate) cache: Duration,
    /// Serve everything under this path, for a reverse proxy
    #[arg(long, value_name = "PATH", default_value = "", value_parser = prefix)]
    pub(crate) prefix: String,
    /// Who may see what the checks are called and why they fail
    #[arg(long, value_name = "WHO", default_value = "always")]
    pub(crate) details: Details,
    /// The file with the token that --details token asks for
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// While this file exists, /readyz fails with its first line as the reason
    #[arg(long, value_name = "FILE")]
    pub(crate) maintenance_file: Option<PathBuf>,
    /// The status code of a report that does not pass
    #[arg(long, value_name = "CODE", default_value_t = 500, value_parser = clap::value_parser!(u16).range(400..=599))]
    pub(crate) fail_status: u16,
    /// The status code of a report that passes with a warning
    #[arg(long, value_name = "CODE", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) warn_status: u16,
    /// Let a report with a warning fail: on or off
    #[arg(long, value_name = "SWITCH", default_value = "off", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "on", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(crate) strict: bool,
    /// Bytes in a request line
    #[arg(long, value_name = "BYTES", default_value_t = 4094, value_parser = clap::value_parser!(u32).range(64..=32_768))]
    pub(crate) limit_request_line: u32,
    /// Header fields in a request
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=MOST_FIELDS as i64))]
    pub(crate) limit_request_fields: u32,
    /// Bytes in one header field
    #[arg(long = "limit-request-field_size", value_name = "BYTES", default_value_t = 8190, value_parser = clap::value_parser!(u32).range(64..=32_768))]
    pub(crate) limit_request_field_size: u32,
}

/// The most workers that can be asked for.
pub(crate) const MOST_WORKERS: usize = 256;

impl Settings {
    /// Where to listen, according to the four settings for it.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let named: Vec<_> =
            self.sockets.fd.map(Address::Fd).into_iter().chain(self.sockets.bind.iter().cloned()).collect();
        if named.is_empty() {
            vec![Address::Tcp { host: self.sockets.host.clone(), port: self.sockets.port }]
        } else {
            named
        }
    }

    /// The file of the log, unless it is "-", standard error.
    pub(crate) fn error_log(&self) -> Option<&Path> {
        self.log.error_logfile.as_deref().filter(|path| *path != Path::new("-"))
    }

    /// What a reload does not change: the name, the value as it is shown, and what does change it. Two values are shown
    /// alike when they name the same.
    pub(crate) fn fixed(&self) -> [(String, &'static str); 8] {
        const RESTART: &str = "a restart";
        const UPGRADE: &str = "a restart or an upgrade (USR2)";
        let mut addresses: Vec<_> = self.addresses().into_iter().map(|address| named(address).to_string()).collect();
        addresses.sort();
        let (sockets, process, log) = (&self.sockets, &self.process, &self.log);
        let path = |path: Option<&Path>, none: &str| match path {
            None => none.to_owned(),
            Some(path) if path == Path::new("-") => "-".to_owned(),
            Some(path) => absolute(path).display().to_string(),
        };
        let notified = process.notify_fd.map_or("none".into(), |fd| fd.to_string());
        let error_log = path(self.error_log(), "standard error");
        [
            (format!("listening on {}", addresses.join(", ")), RESTART),
            (format!("the backlog {}", sockets.backlog), RESTART),
            (format!("the notified descriptor {notified}"), RESTART),
            (format!("the log {error_log} ({:?}, {:?})", log.log_level, log.log_format), UPGRADE),
            (format!("the access log {}", path(log.access_logfile.as_deref(), "none")), UPGRADE),
            (format!("the pidfile {}", path(process.pid.as_deref(), "none")), UPGRADE),
            (format!("the umask {:03o}", process.umask), UPGRADE),
            (format!("the master's name {}", process.name), UPGRADE),
        ]
    }

    /// How many requests the worker with this pid answers before it retires; `None`: no limit.
    pub(crate) fn requests_before_retiring(&self, pid: u32) -> Option<u64> {
        // Any spread will do that keeps the workers from retiring at the same moment.
        let range = self.fleet.max_requests_jitter.saturating_add(1);
        let spread = u64::from(pid).wrapping_mul(0x9E37_79B9_7F4A_7C15) % range;
        (self.fleet.max_requests > 0).then_some(self.fleet.max_requests.saturating_add(spread))
    }
}

/// The same address, however it was written.
fn named(address: Address) -> Address {
    match address {
        Address::Unix(path) => Address::Unix(absolute(&path)),
        Address::Tcp { host, port } => {
            Address::Tcp { host: host.parse().map_or(host, |ip: IpAddr| ip.to_string()), port }
        }
        Address::Abstract(_) | Address::Fd(_) => address,
    }
}
