//! The kinds `smtp`, `imap` and `pop3`, against real servers on loopback.

use std::cell::Cell;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use super::kinds_net::{certificate_for_days, start};
use super::protocols::{PASSWORD, assert_examples, assert_found, assert_stopped, signal};
use crate::harness::drill::assert_sound;
use hospital::model::check::Status::{Error, Fail, Pass};
use nix::sys::signal::Signal;
use nix::unistd::User;
use tempfile::TempDir;

/// A folder that servers may enter, with `ca.pem`, `cert.pem`, `key.pem`, and an empty folder of nobody's.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let (authority, certificate, key) = certificate_for_days(30);
    for (name, text) in [("ca.pem", authority), ("cert.pem", certificate), ("key.pem", key)] {
        fs::write(folder.path().join(name), text).expect("there is room");
    }
    let nobody = User::from_name("nobody").expect("users can be looked up").expect("there is nobody");
    fs::create_dir(folder.path().join("spool")).expect("there is room");
    for name in ["spool", "key.pem"] {
        chown(folder.path().join(name), Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).expect("we are root");
    }
    folder
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a free port").port()
}

fn configured(folder: &Path, text: &str) -> String {
    let path = folder.join("conf");
    fs::write(&path, text.replace("FOLDER", &folder.display().to_string()).replace("PASSWORD", PASSWORD))
        .expect("there is room");
    path.display().to_string()
}

#[test]
#[ignore = "needs root, exim4"]
fn smtp_is_well_frozen_stopped_or_not_what_it_should_be() {
    let folder = folder();
    let ca = folder.path().join("ca.pem").display().to_string();
    let tls_port = Cell::new(0);
    let (exim, port) = start(|port| {
        tls_port.set(free_port());
        let own = tls_port.get();
        let conf = format!(
            "primary_hostname = localhost\nspool_directory = FOLDER/spool\nlog_file_path = FOLDER/spool/%s\n\
             pid_file_path = FOLDER/spool/pid\nexim_user = nobody\nexim_group = nogroup\nnever_users =\n\
             keep_environment =\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port} : {own}\n\
             tls_on_connect_ports = {own}\ntls_advertise_hosts = *\ntls_certificate = FOLDER/cert.pem\n\
             tls_privatekey = FOLDER/key.pem\nbegin authenticators\n\
             plain:\n driver = plaintext\n public_name = PLAIN\n server_prompts = :\n\
             server_condition = ${{if and{{{{eq{{$auth2}}{{anna}}}}{{eq{{$auth3}}{{PASSWORD}}}}}}}}\n\
             login:\n driver = plaintext\n public_name = LOGIN\n server_prompts = Username:: : Password::\n\
             server_condition = ${{if and{{{{eq{{$auth1}}{{anna}}}}{{eq{{$auth2}}{{PASSWORD}}}}}}}}\n"
        );
        let mut exim = Command::new("exim4");
        exim.args(["-C", &configured(folder.path(), &conf), "-bdf"]);
        exim
    });
    let tls_port = tls_port.get();
    let anna = format!("smtp://anna:{PASSWORD}@127.0.0.1:{port}");
    assert_found(
        &format!("smtp://127.0.0.1:{port}"),
        &[
            ("", Pass, ""),
            (&format!("#starttls&ca={ca}"), Pass, ""),
            ("#starttls", Fail, "no TLS: it is signed by nobody that is trusted here"),
        ],
    );
    assert_found(
        &anna,
        &[("", Pass, ""), ("#auth=login", Pass, ""), (&format!("#auth=login&starttls&ca={ca}"), Pass, "")],
    );
    assert_found(
        "smtp",
        &[
            (&format!("s://anna:{PASSWORD}@127.0.0.1:{tls_port}#ca={ca}"), Pass, ""),
            (&format!("s://anna:wrong@127.0.0.1:{tls_port}#ca={ca}"), Error, "its answer to AUTH is \"535 "),
            (&format!("s://127.0.0.1:{port}#ca={ca}"), Fail, "does not speak TLS"),
            (&format!("://127.0.0.1:{tls_port}#timeout=2s"), Fail, "waiting for its greeting: nothing came in time"),
        ],
    );
    let here = |port: u16| format!("127.0.0.1:{port}");
    let (secret, starttls) =
        (("anna:secret@", format!("anna:{PASSWORD}@")), ("#starttls", format!("#starttls&ca={ca}")));
    assert_examples("smtp", &[secret, starttls, ("localhost:587", here(port)), ("localhost", here(port))]);
    assert_examples("smtps", &[("localhost", format!("{}#ca={ca}", here(tls_port)))]);
    assert_found("", &[(&format!("imap://127.0.0.1:{port}"), Fail, "its greeting is \"220 localhost ESMTP")]);
    assert_sound(
        &[],
        &[
            format!("{anna}#timeout=2s"),
            format!("smtps://anna:{PASSWORD}@127.0.0.1:{tls_port}#ca={ca}&timeout=2s"),
            format!("tls://127.0.0.1:{tls_port}#ca={ca}&timeout=2s"),
            format!("cert:127.0.0.1:{tls_port}#ca={ca}&timeout=2s"),
        ],
    );
    signal(&exim, Signal::SIGSTOP);
    assert_found(&anna, &[("#timeout=2s", Fail, "waiting for its greeting: nothing came in time")]);
    signal(&exim, Signal::SIGCONT);
    drop(exim);
    assert_stopped(&anna);
}

#[test]
#[ignore = "needs root, dovecot"]
fn imap_and_pop3_are_well_frozen_stopped_or_not_what_they_should_be() {
    let folder = folder();
    let ca = folder.path().join("ca.pem").display().to_string();
    let ports = Cell::new([0; 4]);
    let (dovecot, _) = start(|port| {
        ports.set([port, free_port(), free_port(), free_port()]);
        let [imap, imaps, pop3, pop3s] = ports.get();
        let listener = |kind, port, ssl| format!("inet_listener {kind} {{\n port = {port}\n ssl = {ssl}\n }}\n");
        let conf = format!(
            "base_dir = FOLDER/run\nstate_dir = FOLDER/run\nlog_path = /dev/stderr\nprotocols = imap pop3\n\
             listen = 127.0.0.1\ndefault_internal_user = nobody\ndefault_login_user = nobody\n\
             default_internal_group = nogroup\nssl = yes\nssl_cert = <FOLDER/cert.pem\nssl_key = <FOLDER/key.pem\n\
             mail_location = maildir:FOLDER/spool/%u\nfirst_valid_uid = 1\nauth_failure_delay = 0\n\
             passdb {{\n driver = static\n args = user=anna password=PASSWORD\n}}\n\
             userdb {{\n driver = static\n args = uid=nobody gid=nogroup home=FOLDER/spool\n}}\n\
             service anvil {{\n chroot =\n}}\n\
             service imap-login {{\n chroot =\n{}{}}}\nservice pop3-login {{\n chroot =\n{}{}}}\n",
            listener("imap", imap, "no"),
            listener("imaps", imaps, "yes"),
            listener("pop3", pop3, "no"),
            listener("pop3s", pop3s, "yes"),
        );
        let mut dovecot = Command::new("dovecot");
        dovecot.args(["-F", "-c", &configured(folder.path(), &conf)]);
        dovecot
    });
    let [imap, imaps, pop3, pop3s] = ports.get();
    // Before it has seen a wrong password, after which it takes its time.
    let account = format!("anna:{PASSWORD}@127.0.0.1");
    assert_sound(
        &[],
        &[
            format!("imap://{account}:{imap}#timeout=2s"),
            format!("imaps://{account}:{imaps}#ca={ca}&timeout=2s"),
            format!("pop3://{account}:{pop3}#timeout=2s"),
            format!("pop3s://{account}:{pop3s}#ca={ca}&timeout=2s"),
        ],
    );
    for (kind, plain, tls, no) in
        [("imap", imap, imaps, "b NO [AUTHENTICATIONFAILED]"), ("pop3", pop3, pop3s, "-ERR [AUTH]")]
    {
        let starttls = ("#starttls", format!("#starttls&ca={ca}"));
        assert_examples(kind, &[("anna:secret@localhost", format!("{account}:{plain}")), starttls]);
        assert_examples(&format!("{kind}s"), &[("localhost", format!("127.0.0.1:{tls}#ca={ca}"))]);
        assert_found(
            kind,
            &[
                (&format!("://127.0.0.1:{plain}"), Pass, ""),
                (&format!("://127.0.0.1:{plain}#starttls&ca={ca}"), Pass, ""),
                (&format!("://127.0.0.1:{plain}#starttls"), Fail, "no TLS: it is signed by nobody"),
                (&format!("://anna:{PASSWORD}@127.0.0.1:{plain}"), Pass, ""),
                (&format!("://anna:{PASSWORD}@127.0.0.1:{plain}#starttls&auth=login&ca={ca}"), Pass, ""),
                (&format!("s://anna:{PASSWORD}@127.0.0.1:{tls}#auth=plain&ca={ca}"), Pass, ""),
                (&format!("s://anna:wrong@127.0.0.1:{tls}#ca={ca}"), Error, no),
                (&format!("s://127.0.0.1:{plain}#ca={ca}"), Fail, "does not speak TLS"),
            ],
        );
    }
    signal(&dovecot, Signal::SIGSTOP);
    assert_found(
        "",
        &[
            (&format!("imap://127.0.0.1:{imap}#timeout=2s"), Fail, "its greeting: nothing came in time"),
            (&format!("pop3s://127.0.0.1:{pop3s}#timeout=2s&insecure"), Fail, "no TLS: nothing came in time"),
        ],
    );
    signal(&dovecot, Signal::SIGCONT);
    drop(dovecot);
    assert_stopped(&format!("imap://127.0.0.1:{imap}"));
}
