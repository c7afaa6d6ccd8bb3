//! Secrets stay in: each secret, however a server writes it, is looked for wherever something is shown or kept.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::harness::{Launch, Signal, get, once, send};

/// Each with the check that is told it; `AT`, `MAIL` and `LDAP` are where their servers are. That of a file is known to its own check only.
const SECRETS: [(&str, &str); 12] = [
    ("pa/ss&'wö<1>", "url=http://anna:pa%2Fss%26'w%C3%B6%3C1%3E@AT/"),
    ("qu+ery t0ken", "query=http://AT/?api_token=qu%2Bery+t0ken"),
    ("hook-T0KEN", "hook=http://AT/hook/hook-T0KEN"),
    ("header\"s3cret", "field=http://AT/#header=X-Api-Key:%20header%22s3cret"),
    ("encoded-s3cret", "basic=http://AT/#header=Authorization:%20Basic%20YW5uYTplbmNvZGVkLXMzY3JldA=="),
    ("body-s3cret=1", "body=http://AT/#body=client_secret=body-s3cret%253D1%26x=y"),
    ("sent-s3cret", "sent=tcp://AT#send=AUTH%20sent-s3cret%0D%0A&match=nothing"),
    ("argument-s3cret", "argument=exec:/bin/sh#args=-c&args=exit%203&args=--password=argument-s3cret"),
    ("variable-s3cret", "variable=exec:/bin/sh#args=-c&args=echo%20$DB_PASSWORD;exit%203"),
    ("mail-s3cret", "mail=smtp://anna:mail-s3cret@MAIL#auth=plain"),
    ("directory-s3cret", "directory=ldap://cn=anna:directory-s3cret@LDAP"),
    ("sl\"ash<s3cret\\", "backslash=http://AT/#header=X-Token:%20sl%22ash%3Cs3cret%5C"),
];

/// The ways in which a server may write what it was told.
fn written(secret: &str) -> Vec<String> {
    let percent = |keeps: fn(u8) -> bool, upper: bool| -> String {
        let byte = |byte: u8| match (keeps(byte), upper) {
            (true, _) => char::from(byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        };
        secret.bytes().map(byte).collect()
    };
    let html = secret.replace('&', "&amp;").replace('\'', "&#39;").replace('<', "&lt;").replace('"', "&#x22;");
    let json = serde_json::to_string(secret).expect("it is text").replace('/', "\\/");
    let account = format!("anna:{secret}");
    vec![
        secret.to_owned(),
        percent(|byte| byte.is_ascii_alphanumeric(), true),
        percent(|byte| byte.is_ascii_alphanumeric(), false),
        percent(|_| false, false),
        percent(|byte| byte == b' ' || byte.is_ascii_alphanumeric(), true).replace(' ', "+"),
        html,
        secret.chars().map(|c| format!("&#x{:x};", u32::from(c))).collect(),
        json,
        secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
        STANDARD.encode(secret),
        STANDARD.encode(&account),
        URL_SAFE_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(&account),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
    ]
}

/// A server that knows the secrets: `/3/7` answers with the third in the seventh way, as do its name and where it leads to.
fn parrot() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut said = [0; 8192];
            let length = client.read(&mut said).unwrap_or_default();
            let said = String::from_utf8_lossy(&said[..length]).into_owned();
            let mut numbers = said.split([' ', '/']).filter_map(|part| part.parse::<usize>().ok());
            let body = match (numbers.next(), numbers.next()) {
                (Some(secret), Some(way)) if secret < SECRETS.len() => written(SECRETS[secret].0).swap_remove(way),
                _ => said,
            };
            let line = body.replace(['\r', '\n'], " ");
            let head =
                format!("HTTP/1.1 302 Found\r\nServer: x {line}\r\nLocation: /to?x={}\r\n", line.replace(' ', "%20"));
            let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let _ = client.write_all(text.as_bytes());
        }
    });
    at
}

/// A mail server that lets nobody in, and says what it was told.
fn mail() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"220 mail ESMTP\r\n");
            let mut lines = BufReader::new(client.try_clone().expect("there are descriptors")).lines();
            while let Some(Ok(line)) = lines.next() {
                let told = line.rsplit(' ').next().and_then(|word| STANDARD.decode(word).ok()).unwrap_or_default();
                let told = String::from_utf8_lossy(&told).replace('\0', " ");
                let answer = match line.split(' ').next() {
                    Some("EHLO") => "250-mail\r\n250 AUTH PLAIN\r\n".to_owned(),
                    Some("QUIT") => "221 bye\r\n".to_owned(),
                    Some(_) | None => format!("535 5.7.8 not {line}, which is {told}\r\n"),
                };
                let _ = client.write_all(answer.as_bytes());
            }
        }
    });
    at
}

/// A directory that lets nobody in, and says what it was told (RFC 4511).
fn directory() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    let element = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut said = [0; 512];
            let length = client.read(&mut said).unwrap_or_default();
            // Its password is the last thing in it.
            let why = format!("what is {}?", String::from_utf8_lossy(&said[length.saturating_sub(16)..length]));
            let result = [element(0x0a, &[49]), element(4, b""), element(4, why.as_bytes())].concat();
            let message = [element(2, &[said[4]]), element(0x61, &result)].concat();
            let _ = client.write_all(&element(0x30, &message));
        }
    });
    at
}

/// Asserts that none of the secrets is in a text, in whatever way.
#[track_caller]
fn assert_silent(text: &str, place: &str) {
    // What is a format's own way to write it is undone, for the most part.
    let plain = text.replace("\\\"", "\"").replace("\\\\", "\\");
    for (secret, _) in SECRETS {
        for way in written(secret) {
            for text in [text, &plain] {
                let found = text.find(&way);
                let around = found.map(|at| &text[text.floor_char_boundary(at.saturating_sub(200))..at]);
                assert!(found.is_none(), "{place} shows {secret} as {way} behind {}", around.unwrap_or_default());
            }
        }
    }
}

fn bytes_below(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => bytes_below(&path),
        false => String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned(),
    };
    entries.map(text).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_secret_is_shown_or_kept_anywhere_however_it_is_written() {
    let at = parrot();
    let folder = tempfile::tempdir().expect("there is room");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (token, variables, state) = (path("token"), path("variables"), path("state"));
    // What a server says of the token in a file, its check alone can know.
    fs::write(&token, SECRETS[0].0).expect("there is room");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::create_dir(&state).expect("there is room");
    let places = [("AT", at), ("MAIL", mail()), ("LDAP", directory())];
    let told = SECRETS.map(|(_, check)| {
        places.iter().fold(check.to_owned(), |check, (place, at)| check.replace(place, &at.to_string()))
    });
    let ways = written("").len();
    let echoes = (0..SECRETS.len()).flat_map(|secret| (0..ways).map(move |way| (secret, way)));
    let echoes =
        echoes.map(|(secret, way)| format!("e{secret}.{way}=http://{at}/{secret}/{way}#status=302&match=nothing"));
    let names: Vec<String> = told.into_iter().chain(echoes).collect();
    let file = format!("DB_PASSWORD={}\nHEALTHCHECKS={:?}\n", SECRETS[8].0, names.join(" ").replace('"', "%22"));
    fs::write(&variables, file.replace("$DB", "\\$DB")).expect("there is room");
    fs::set_permissions(&variables, fs::Permissions::from_mode(0o600)).expect("it is ours");

    let access = path("access");
    let args = ["-w", "1", "--env-file", &variables, "--state-dir", &state, "--access-logfile", &access];
    let mut server = Launch::serve(args).without("HEALTHCHECKS").start();
    let report = get(&server.at, "/?verbose=2");
    let details = report.json()["details"].as_array().cloned().unwrap_or_default();
    assert_eq!(details.len(), names.len(), "{}", report.body);
    for (id, text) in [("mail", "535 5.7.8 not AUTH PLAIN ***"), ("directory", "what is ***?")] {
        let detail = details.iter().find(|detail| detail["id"] == id).expect("it is there");
        assert!(detail["context"].as_str().is_some_and(|context| context.contains(text)), "{detail:#}");
    }
    for detail in details.iter().filter(|detail| detail["id"].as_str().is_some_and(|id| id.contains('.'))) {
        for shown in [&detail["context"], &detail["transcript"]["body"][0], &detail["transcript"]["server"][0]] {
            assert!(shown.as_str().is_some_and(|text| text.contains("***")), "{detail:#}");
        }
    }
    assert_silent(&report.body, "verbose=2");
    let formats = ["json", "text", "html", "nagios", "junit", "tap", "health%2Bjson", "prometheus"];
    for format in formats {
        let place = format!("/?format={format}&verbose=2");
        assert_silent(&get(&server.at, &place).body, &place);
    }
    for (number, detail) in details.iter().enumerate() {
        let forms = [("why", "json"), ("why", "text"), ("why", "html"), ("history", "json")];
        // All are of the same record.
        for (topic, format) in &forms[..if number % ways == 0 { forms.len() } else { 1 }] {
            let place = format!("/{topic}/{}?format={format}", detail["id"].as_str().expect("it has one"));
            assert_silent(&get(&server.at, &place).body, &place);
        }
    }
    assert_silent(&get(&server.at, "/metrics").body, "/metrics");
    assert_silent(&get(&server.at, "/nothing").body, "/nothing");
    for verb in [vec!["status"], vec!["why", "e0.0"], vec!["why", "nothing"]] {
        let mut command = once::hospital(verb[0]);
        let run = once::run(command_with(&mut command, &verb[1..], &["--state-dir", &state]));
        assert_silent(&format!("{}{}", run.stdout, run.stderr), &verb.join(" "));
    }
    send(server.master(), Signal::SIGTERM);
    server.wait();
    assert_silent(&server.stderr(), "the log");
    assert_silent(&fs::read_to_string(&access).expect("it is there"), "the access log");
    assert_silent(&bytes_below(Path::new(&state)), "the state dir");
    for verb in [
        vec!["check", "-vv"],
        vec!["list", "-v"],
        vec!["list", "--json"],
        vec!["list", "--lint"],
        vec!["why", "e0.0"],
        vec!["serve", "--print-config"],
        vec!["serve", "--check-config"],
    ] {
        let mut command = once::hospital(verb[0]);
        let run = once::run(command_with(&mut command, &verb[1..], &["--env-file", &variables, "--state-dir", &state]));
        assert_silent(&format!("{}{}", run.stdout, run.stderr), &verb.join(" "));
    }
    // The token of a file, which a run reads, in whatever way it comes back; and its check is the only one.
    let of_file = (0..ways).map(|way| format!("f{way}=http://{at}/0/{way}#bearer={token}&status=302&match=nothing"));
    let mut command = once::hospital("check");
    command.arg("-vv").args(of_file);
    let run = once::run(command);
    assert_silent(&format!("{}{}", run.stdout, run.stderr), "the token of a file");
    assert_eq!(run.stderr.matches("\nbody: ").count(), ways, "{}", run.stderr);
    // What is refused is not quoted either.
    for name in &names[..SECRETS.len()] {
        for wrong in ["&timeout=soon", "&tiemout=1s"] {
            let wrong = if name.contains('#') { wrong.to_owned() } else { wrong.replacen('&', "#", 1) };
            let mut command = once::hospital("check");
            command.arg(format!("{name}{wrong}"));
            let run = once::run(command);
            assert_silent(&format!("{}{}", run.stdout, run.stderr), &format!("{name}{wrong}"));
        }
    }
}

fn command_with(command: &mut std::process::Command, args: &[&str], more: &[&str]) -> std::process::Command {
    let mut with = std::mem::replace(command, std::process::Command::new(""));
    with.args(args).args(more);
    with
}
