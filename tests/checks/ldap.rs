//! The kind `ldap`, against a real slapd on loopback.

use std::cell::Cell;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::kinds_net::start;
use super::protocols::{Keys, PASSWORD, assert_examples, assert_found, assert_stopped, signal};
use crate::harness::drill::assert_sound;
use hospital::model::check::Status::{Error, Fail, Pass, Warn};
use nix::sys::signal::Signal;

/// A directory of two people, which a reader alone may see.
fn directory(folder: &Path) -> String {
    let at = folder.display();
    let conf = format!(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\n\
         TLSCACertificateFile {at}/ca.pem\nTLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\n\
         database mdb\nsuffix dc=shop\nrootdn cn=admin,dc=shop\nrootpw {PASSWORD}\ndirectory {at}/data\n\
         limits dn.exact=cn=few,dc=shop size.soft=1 size.hard=1\n\
         access to attrs=userPassword by anonymous auth\naccess to * by users read by anonymous auth\n"
    );
    let entry = |dn: &str, class: &str, rest: &str| format!("dn: {dn}\nobjectClass: {class}\n{rest}\n\n");
    let person = |name: &str| {
        let rest = format!("cn: {name}\nsn: {name}\nuserPassword: {PASSWORD}");
        entry(&format!("cn={name},dc=shop"), "person", &rest)
    };
    let entries = [
        entry("dc=shop", "organization", "objectClass: dcObject\no: shop\ndc: shop"),
        person("reader"),
        person("few"),
        entry(
            "ou=elsewhere,dc=shop",
            "referral",
            "objectClass: extensibleObject\nou: elsewhere\nref: ldap://127.0.0.1:1/",
        ),
    ];
    fs::create_dir(folder.join("data")).expect("there is room");
    let path = |name: &str| folder.join(name).display().to_string();
    for (name, text) in [("slapd.conf", conf), ("entries.ldif", entries.concat())] {
        fs::write(path(name), text).expect("there is room");
    }
    let mut slapadd = Command::new("/usr/sbin/slapadd");
    let added = slapadd
        .args(["-q", "-f", &path("slapd.conf"), "-l", &path("entries.ldif")])
        .output()
        .expect("it comes with slapd");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    path("slapd.conf")
}

#[test]
#[ignore = "needs slapd"]
fn slapd_is_well_frozen_stopped_or_not_what_it_should_be() {
    let keys = Keys::new();
    let conf = directory(keys.folder.path());
    let ca = &keys.ca;
    let encrypted = Cell::new(0);
    let (slapd, port) = start(|port| {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        encrypted.set(free.expect("a free port").port());
        let mut slapd = Command::new("/usr/sbin/slapd");
        let listen = format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{}", encrypted.get());
        slapd.args(["-d", "0", "-f", &conf, "-h", &listen]);
        slapd
    });
    let encrypted = encrypted.get();
    let reader = format!("ldap://cn=reader,dc=shop:{PASSWORD}@127.0.0.1:{port}");
    assert_found(
        &format!("ldap://127.0.0.1:{port}"),
        &[
            ("", Pass, ""),
            (&format!("#starttls&ca={ca}"), Pass, ""),
            ("#starttls", Fail, "no TLS: it is signed by nobody that is trusted here"),
            ("#base=dc=shop", Error, "insufficientAccessRights (50)"),
            ("#base=nonsense", Error, "invalidDNSyntax (34)"),
        ],
    );
    assert_found(
        &reader,
        &[
            ("#base=dc=shop", Pass, ""),
            ("#base=dc=shop&filter=(%26(objectClass=person)(cn=read*))&min=1&max=1", Pass, ""),
            ("#base=dc=shop&filter=(cn=nobody)", Fail, "expected at least 1 entries, found 0"),
            ("#base=dc=shop&filter=(cn=nobody)&max=0", Pass, ""),
            ("#base=dc=shop&max=2", Fail, "expected at most 2 entries, found 3"),
            ("#base=dc=shop&max=5&warn_max=2", Warn, "expected at most 2 entries, found 3"),
            ("#base=dc=shop&scope=base&max=1", Pass, ""),
            ("#base=dc=shop&scope=one&min=2&max=2", Pass, ""),
            ("#base=dc=other", Fail, "noSuchObject (32)"),
            (&format!("#base=dc=shop&starttls&ca={ca}"), Pass, ""),
        ],
    );
    for (kind, port) in [("ldap", port), ("ldaps", encrypted)] {
        let (web, by) = ("cn=web,dc=shop:secret@dir#", format!("cn=reader,dc=shop:{PASSWORD}@localhost#"));
        let trusted = [(web, by), ("uid=anna", "cn=reader".to_owned()), ("localhost", format!("127.0.0.1:{port}"))];
        let starttls = ("#starttls", format!("#starttls&ca={ca}"));
        let bare = (&*format!("ldaps://127.0.0.1:{port}"), format!("ldaps://127.0.0.1:{port}#ca={ca}"));
        assert_examples(kind, &[&trusted[..], &[starttls, bare]].concat());
    }
    assert_found(
        "ldap",
        &[
            (&format!("s://cn=reader,dc=shop:{PASSWORD}@127.0.0.1:{encrypted}#ca={ca}&base=dc=shop"), Pass, ""),
            (&format!("s://127.0.0.1:{encrypted}"), Fail, "it is signed by nobody that is trusted here"),
            (&format!("s://127.0.0.1:{port}#ca={ca}"), Fail, "no TLS"),
            (&format!("://127.0.0.1:{encrypted}#timeout=2s"), Fail, ""),
            (&format!("://cn=reader,dc=shop:wrong@127.0.0.1:{port}"), Error, "invalidCredentials (49)"),
            (&format!("://cn=few,dc=shop:{PASSWORD}@127.0.0.1:{port}#base=dc=shop"), Pass, ""),
            (
                &format!("://cn=few,dc=shop:{PASSWORD}@127.0.0.1:{port}#base=dc=shop&min=2"),
                Error,
                "that there are more",
            ),
        ],
    );
    assert_found(
        "",
        &[
            (&format!("cert:127.0.0.1:{port}#starttls=ldap&days=1&ca={ca}"), Pass, ""),
            (&format!("cert:127.0.0.1:{port}#starttls=ldap&ca={ca}"), Fail, "it has to last for 14 more days"),
        ],
    );
    assert_sound(
        &[],
        &[
            format!("{reader}#base=dc=shop&timeout=2s"),
            format!("ldaps://cn=reader,dc=shop:{PASSWORD}@127.0.0.1:{encrypted}#ca={ca}&timeout=2s"),
        ],
    );
    signal(&slapd, Signal::SIGSTOP);
    assert_found(&reader, &[("#timeout=2s", Fail, "nothing came in time")]);
    signal(&slapd, Signal::SIGCONT);
    drop(slapd);
    assert_stopped(&reader);
}
