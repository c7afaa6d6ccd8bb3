//! What to do about a flag of gunicorn or chaussette that has no meaning here.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of both programs, as these write them, and what to do instead.
#[rustfmt::skip]
const FLAGS: &[(&[&str], &str)] = &[
    // gunicorn
    (&["-c", "--config"], "there is no configuration in Python: write settings into a file of variables for --env-file"),
    (&["-v", "--version"], "ask with `hospital --version`"),
    (&["-k", "--worker-class", "--threads"], "leave it out: a worker serves all its connections at once, and runs the checks on threads"),
    (&["--reload", "--reload-engine", "--reload-extra-file"], "leave it out: files and folders of checks are read again when they change, the rest at a HUP"),
    (&["--spew"], "see what happens with --log-level debug"),
    (&["--preload"], "leave it out: everything is validated before a worker is forked"),
    (&["--no-sendfile"], "leave it out: no file is sent"),
    (&["--reuse-port"], "leave it out: the workers share one socket, so that no connection waits for a worker that is busy"),
    (&["-D", "--daemon"], "run it under a service manager, see deploy/; it stays in the foreground"),
    (&["--worker-tmp-dir"], "leave it out: workers beat in shared memory, not in a file"),
    (&["--initgroups"], "leave it out: with --user the workers get the groups of that user"),
    (&["--forwarded-allow-ips", "--forwarder-headers", "--header-map"], "leave it out: no header about the client is believed, nor needed"),
    (&["--disable-redirect-access-to-syslog", "--log-syslog", "--log-syslog-to", "--log-syslog-prefix", "--log-syslog-facility"], "log to standard error, and have the service manager pass it on"),
    (&["--capture-output"], "leave it out: what a check writes is in the report"),
    (&["--logger-class", "--log-config", "--log-config-json"], "set --log-level, --log-format and --error-logfile"),
    (&["-R", "--enable-stdio-inheritance"], "leave it out: the log goes to standard error unless --error-logfile is given"),
    (&["--statsd-host", "--statsd-prefix", "--dogstatsd-tags", "--enable-backlog-metric"], "have the figures scraped from /metrics"),
    (&["--pythonpath", "--paste", "--paster", "--paste-global"], "leave it out: no Python is run; a Python program can be a check of the kind exec"),
    (&["--proxy-allow-from"], "let nobody but the proxy reach the port, see --proxy-protocol"),
    (&["--protocol", "--uwsgi-allow-from"], "have the proxy speak plain HTTP/1.1"),
    (&["--keyfile", "--certfile", "--ssl-version", "--cert-reqs", "--ca-certs", "--ciphers", "--suppress-ragged-eofs", "--do-handshake-on-connect"], "put a proxy that speaks TLS in front, see deploy/"),
    (&["--http-protocols", "--http2-cleartext", "--http2-max-concurrent-streams", "--http2-initial-window-size", "--http2-max-frame-size", "--http2-max-header-list-size"], "leave it out: HTTP/1.1 is spoken, and HTTP/1.0"),
    (&["--permit-obsolete-folding", "--strip-header-spaces", "--permit-unconventional-http-method", "--permit-unconventional-http-version", "--casefold-http-method", "--tolerate-dangerous-framing", "--http-parser"], "leave it out: requests are read strictly, and there is no way around it"),
    (&["--asgi-loop", "--asgi-lifespan", "--asgi-disconnect-grace-period", "--websocket-max-message-size"], "leave it out: no Python is run"),
    (&["--root-path"], "serve under a path with --prefix"),
    (&["--dirty-app", "--dirty-workers", "--dirty-timeout", "--dirty-threads", "--dirty-graceful-timeout"], "leave it out: what blocks runs on threads of the workers anyway"),
    (&["--control-socket", "--control-socket-mode", "--no-control-socket"], "control it with signals, see docs/SIGNALS.md"),
    // chaussette
    (&["--address-family", "--socket-type"], "say it with the address: --bind HOST:PORT, [V6]:PORT or unix:PATH"),
    (&["--backend", "--spawn"], "leave it out: there is one kind of worker, see --workers"),
    (&["--use-reloader"], "leave it out: files and folders of checks are read again when they change, the rest at a HUP"),
    (&["--pre-hook", "--post-hook"], "have the service manager run it before and after"),
    (&["--python-path"], "leave it out: no Python is run; a Python program can be a check of the kind exec"),
];

/// What both programs are given to serve: the endpoint of the Python project.
const APPLICATIONS: [&str; 2] = ["hospital.wsgi:application", "hospital.wsgi.application"];

/// Better advice than clap's about an unknown flag.
pub(crate) fn on(error: &clap::Error) -> Option<String> {
    let ContextValue::String(given) = error.get(ContextKind::InvalidArg)? else { return None };
    let flag = given.split('=').next().unwrap_or(given);
    let (_, advice) = FLAGS.iter().find(|(names, _)| names.contains(&flag))?;
    (error.kind() == ErrorKind::UnknownArgument)
        .then(|| format!("{flag} has a meaning for gunicorn or chaussette, but none here: {advice}"))
}

/// Advice about a name that is not the name of a check.
pub(crate) fn on_names(names: &[String]) -> Option<String> {
    let application = names.iter().find(|name| APPLICATIONS.contains(&name.as_str()) && !Path::new(name).exists())?;
    Some(format!(
        "{application} is what gunicorn and chaussette serve: leave it out, and name the checks or set HEALTHCHECKS"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_advice_is_given_on_a_flag_that_there_is() {
        let command = crate::cli::command();
        let serve = command.find_subcommand("serve").expect("there is such a subcommand");
        for flag in FLAGS.iter().flat_map(|(names, _)| names.iter()) {
            let is_it = |arg: &clap::Arg| {
                let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
                longs.iter().any(|long| format!("--{long}") == *flag)
                    || arg.get_short().is_some_and(|short| format!("-{short}") == *flag)
            };
            assert!(!serve.get_arguments().any(is_it), "{flag} is a setting, and advised against");
        }
    }
}
