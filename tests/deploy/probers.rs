//! Monitors that probe the endpoint or run the checks themselves: blackbox_exporter, Nagios and its check_http, Icinga,
//! monit, with the files that `deploy/` ships.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::family::{Family, deployed, own_address};
use crate::harness::once::{Run, run};
use crate::harness::{At, DEADLINE, HOSPITAL, Launch, Server, get, processes};
use tempfile::TempDir;

/// A server whose only check passes while a file exists.
struct Flagged {
    server: Server,
    directory: TempDir,
}

impl Flagged {
    #[track_caller]
    fn start(args: &[&str]) -> Flagged {
        let directory = tempfile::tempdir().expect("there is room");
        let name = format!("flag=file:{}", directory.path().join("flag").display());
        let flagged = Flagged { server: Launch::serve(args).env("HEALTHCHECKS", &name).start(), directory };
        flagged.raise();
        flagged
    }

    /// From now on the check passes.
    fn raise(&self) {
        std::fs::write(self.directory.path().join("flag"), "").expect("the directory is ours");
    }

    /// From now on the check fails.
    fn lower(&self) {
        std::fs::remove_file(self.directory.path().join("flag")).expect("it is there");
    }

    fn address(&self) -> SocketAddr {
        let At::Tcp(address) = self.server.at else { panic!("it serves {:?}", self.server.at) };
        address
    }
}

// --- blackbox_exporter -------------------------------------------------------------------------------

#[test]
#[ignore = "needs prometheus-blackbox-exporter"]
fn blackbox_exporter_finds_what_the_checks_find() {
    let flagged = Flagged::start(&[]);
    let (directory, own) = (tempfile::tempdir().expect("there is room"), own_address());
    let config = directory.path().join("blackbox.yml");
    std::fs::write(&config, deployed("prometheus/blackbox.yml", &[])).expect("the directory is ours");
    let exporter = Family::start(directory, "prometheus-blackbox-exporter", |command| {
        command.arg(format!("--config.file={}", config.display())).arg(format!("--web.listen-address={own}"));
    });
    exporter.within_patience("it listens", || std::net::TcpStream::connect(own).is_ok());
    let probed = || {
        let text = get_to_the_end(own, &format!("/probe?module=hospital&target=http://{}/", flagged.address()));
        let sample = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        (sample("probe_success "), sample("probe_http_status_code "))
    };
    assert_eq!(probed(), (Some(1.0), Some(200.0)));
    flagged.lower();
    assert_eq!(probed(), (Some(0.0), Some(500.0)));
    flagged.raise();
    assert_eq!(probed(), (Some(1.0), Some(200.0)));
}

/// A GET to another server, whose answer ends with the connection.
#[track_caller]
fn get_to_the_end(address: SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket has that");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

// --- Nagios ------------------------------------------------------------------------------------------

#[test]
#[ignore = "needs nagios4"]
fn nagios_takes_the_commands_and_services() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().display();
    let host = "define host {\nuse generic-host\nhost_name localhost\naddress 127.0.0.1\nmax_check_attempts 1\n\
                contact_groups admins\n}\n\
                define command {\ncommand_name notify-host-by-email\ncommand_line /bin/true\n}\n\
                define command {\ncommand_name notify-service-by-email\ncommand_line /bin/true\n}\n";
    let samples = ["contacts", "timeperiods", "templates"].map(|name| format!("/etc/nagios4/objects/{name}.cfg"));
    let own = [("host.cfg", host.to_owned()), ("hospital.cfg", deployed("nagios/hospital.cfg", &[]))];
    let mut config = format!("log_file={path}/log\n");
    for (name, text) in own {
        std::fs::write(directory.path().join(name), text).expect("the directory is ours");
        config += &format!("cfg_file={path}/{name}\n");
    }
    samples.iter().for_each(|file| config += &format!("cfg_file={file}\n"));
    std::fs::write(directory.path().join("nagios.cfg"), config).expect("the directory is ours");
    let mut command = Command::new("nagios4");
    command.arg("-v").arg(directory.path().join("nagios.cfg"));
    let Run { code, stdout, .. } = run(command);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("Checked 2 services.") && stdout.contains("Total Errors:   0"), "{stdout}");
}

#[test]
#[ignore = "needs check_http"]
fn the_commands_of_nagios_find_what_the_checks_find() {
    let flagged = Flagged::start(&[]);
    let port = flagged.address().port().to_string();
    let asked = |path: &str| nagios("check_hospital", &[&port, path]);
    assert_eq!(asked("/").code, Some(0), "{}", asked("/").stdout);
    assert!(asked("/").stdout.starts_with("HTTP OK"), "{}", asked("/").stdout);
    assert_eq!(asked("/flag?verbose").code, Some(0));
    flagged.lower();
    assert_eq!(asked("/").code, Some(2), "{}", asked("/").stdout);
    assert_eq!(asked("/readyz").code, Some(2), "{}", asked("/readyz").stdout);
    assert_eq!(asked("/livez").code, Some(0), "{}", asked("/livez").stdout);
    drop(flagged.server);
    assert_eq!(nagios("check_hospital", &[&port, "/"]).code, Some(2), "nobody is there");

    let here = |names: &str| nagios("check_hospital_here", &[names]);
    let well = here("file:/etc/passwd memory:#available=1B");
    assert!(well.code == Some(0) && well.stdout.starts_with("HOSPITAL OK"), "{}", well.stdout);
    let bad = here("file:/etc/passwd file:/no/such/file");
    assert!(bad.code == Some(2) && bad.stdout.starts_with("HOSPITAL CRITICAL"), "{}", bad.stdout);
    assert_eq!(here("no.such.name").code, Some(3), "UNKNOWN");
}

/// Runs a command of the file that `deploy/` ships like Nagios: its macros replaced, in a shell.
#[track_caller]
fn nagios(name: &str, arguments: &[&str]) -> Run {
    let file = deployed("nagios/hospital.cfg", &[("/usr/bin/hospital", HOSPITAL)]);
    let mut words = file.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    words.find(|(key, value)| *key == "command_name" && value.trim() == name).expect("the file defines it");
    let (_, line) = words.find(|(key, _)| *key == "command_line").expect("each has one");
    let mut line = line.trim().replace("$USER1$", "/usr/lib/nagios/plugins").replace("$HOSTADDRESS$", "127.0.0.1");
    for (index, argument) in arguments.iter().enumerate() {
        line = line.replace(&format!("$ARG{}$", index + 1), argument);
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &line]);
    run(command)
}

// --- Icinga ------------------------------------------------------------------------------------------

#[test]
#[ignore = "needs icinga2"]
fn icinga_takes_the_command_and_services() {
    let directory = tempfile::tempdir().expect("there is room");
    let (config, own) = (directory.path().join("icinga2.conf"), directory.path().join("hospital.conf"));
    std::fs::write(&own, deployed("nagios/icinga2.conf", &[])).expect("the directory is ours");
    let text = format!(
        "include <itl>\ninclude <plugins>\nconst PluginDir = \"/usr/lib/nagios/plugins\"\n\
         object Host \"localhost\" {{\ncheck_command = \"hostalive\"\naddress = \"127.0.0.1\"\n\
         vars.hospital = true\n}}\ninclude \"{}\"\n",
        own.display()
    );
    std::fs::write(&config, text).expect("the directory is ours");
    // It writes to folders that are replaced by empty ones here.
    let script = "for d in /var/cache/icinga2 /var/lib/icinga2; do mount -t tmpfs none $d; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", "icinga2", "daemon", "-C", "-c"]).arg(&config);
    let Run { code, stdout, .. } = run(command);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("Instantiated 2 Services.") && !stdout.contains("warning"), "{stdout}");
}

// --- monit -------------------------------------------------------------------------------------------

#[test]
#[ignore = "needs monit"]
fn monit_finds_what_the_checks_find_and_restarts_nobody_for_it() {
    let directory = tempfile::tempdir().expect("there is room");
    let (path, restarts) = (directory.path().display().to_string(), directory.path().join("restarts"));
    let pidfile = format!("{path}/hospital.pid");
    let flagged = Flagged::start(&["--pid", &pidfile]);
    let port = flagged.address().port();
    let watched = deployed(
        "monit/hospital",
        &[
            ("matching \"/hospital serve\"", &format!("matching \"/hospital serve .*{pidfile}\"")),
            ("/bin/systemctl start hospital", &format!("/bin/sh -c 'echo start >>{}'", restarts.display())),
            ("/bin/systemctl stop hospital", &format!("/bin/sh -c 'echo stop >>{}'", restarts.display())),
            ("port 1515 protocol http request \"/livez\"", &format!("port {port} protocol http request \"/livez\"")),
            ("port 1515 protocol http request \"/\"", &format!("port {port} protocol http request \"/\"")),
        ],
    );
    let own = format!(
        "set daemon 1\nset idfile {path}/id\nset statefile {path}/state\nset pidfile {path}/monit.pid\n\
         set httpd unixsocket {path}/control allow localhost\n\n"
    );
    let control = directory.path().join("monitrc");
    std::fs::write(&control, own + &watched).expect("the directory is ours");
    // monit refuses a file that others may read.
    std::fs::set_permissions(&control, Permissions::from_mode(0o600)).expect("the directory is ours");
    let monit = Family::start(directory, "monit", |command| {
        command.arg("-I").arg("-c").arg(&control);
    });
    let says = |service: &str, status: &str| {
        let output = Command::new("monit").arg("-c").arg(&control).args(["-B", "summary", service]).output();
        let text = String::from_utf8_lossy(&output.expect("monit is installed").stdout).into_owned();
        text.lines().any(|line| line.trim().starts_with(service) && line.contains(status))
    };
    monit.within_patience("all is well", || says("hospital", "OK") && says("healthchecks", "OK"));
    flagged.lower();
    monit.within_patience("a check fails", || says("healthchecks", "Connection failed"));
    assert!(says("hospital", "OK"), "the process is well");
    flagged.raise();
    monit.within_patience("all is well again", || says("healthchecks", "OK"));
    assert!(processes::is_alive(flagged.server.master()) && !restarts.exists());
    assert_eq!(get(&flagged.server.at, "/").status, 200);
}
