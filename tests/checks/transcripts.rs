//! What a run did: who sees it, and what nobody sees in it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::{Launch, get, once};

/// A server that repeats whatever it is told: in its name, in where it leads, and in its body.
fn parrot() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { continue };
            let mut said = [0; 8192];
            let length = client.read(&mut said).unwrap_or_default();
            let said = String::from_utf8_lossy(&said[..length]).into_owned();
            let line = said.replace(['\r', '\n'], " ");
            let head = format!("HTTP/1.1 200 OK\r\nServer: {line}\r\nLocation: /?{}\r\n", line.replace(' ', "&"));
            let _ = client.write_all(format!("{head}Content-Length: {}\r\n\r\n{said}", said.len()).as_bytes());
        }
    });
    at
}

#[test]
fn what_a_run_did_is_shown_to_whoever_may_see_details_and_asks_for_it() {
    let at = parrot();
    let checks = format!("a=http://{at}/ b=exec:/bin/false");
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", &checks).start();
    let json = |path: &str| serde_json::from_str::<Value>(&get(&server.at, path).body).expect("it is JSON");
    let report = json("/?verbose=2");
    let detail = |id: &str| {
        let details = report["details"].as_array().expect("there are two");
        details.iter().find(|detail| detail["id"] == id).expect("it is there").clone()
    };
    assert_eq!(detail("a")["transcript"]["address"], serde_json::json!([at.to_string()]));
    assert_eq!(detail("a")["transcript"]["status"], serde_json::json!(["200"]));
    assert_eq!(detail("a")["transcript"]["our.generation"], serde_json::json!(["0"]));
    assert_eq!(
        (&detail("b")["transcript"]["exit"], &detail("b")["blame"]),
        (&serde_json::json!(["1"]), &"theirs".into())
    );
    assert!(json("/?verbose")["details"][0].get("transcript").is_none());
    assert!(!get(&server.at, "/").body.contains("blame"), "that is the JSON of the manual");
    let text = get(&server.at, "/?format=text&verbose=2").body;
    assert!(text.contains("\n    blame: theirs\n") && text.contains(&format!("\n    address: {at}\n")), "{text}");
    let metrics = get(&server.at, "/metrics").body;
    assert!(metrics.contains("hospital_check_blame{check=\"b\",blame=\"theirs\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("hospital_check_blame{check=\"a\""), "{metrics}");

    let server = Launch::serve(["-w", "1", "--details", "never"]).env("HEALTHCHECKS", &checks).start();
    for path in ["/?verbose=2", "/?verbose=2&format=text", "/metrics"] {
        let body = get(&server.at, path).body;
        assert!(
            !["address", "blame", "exit", &at.to_string()].iter().any(|word| body.contains(word)),
            "{path}: {body}"
        );
    }
}

#[test]
fn no_secret_is_in_what_a_run_did() {
    let at = parrot();
    let folder = tempfile::tempdir().expect("there is room");
    let token = folder.path().join("token");
    std::fs::write(&token, "hunter2bearer-of-file").expect("there is room");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let checks = [
        format!("a=http://user:hunter2pw@{at}/?api_token=hunter2token&x=1"),
        format!("b=http://{at}/;jsessionid=hunter2session?db=postgres://u:hunter2db@h/x"),
        format!("c=http://{at}/#header=X-Api-Key:%20hunter2key&header=Authorization:%20Bearer%20hunter2bearer"),
        format!("d=http://{at}/?code=hunter2code&SAMLResponse=hunter2saml#match=nothing"),
        format!("e=http://{at}/#bearer={}&status=500", token.display()),
        "f=exec:/bin/sh#args=-c&args=echo%20$PASSWORD%20$API_TOKEN;%20exit%203&env=PASSWORD=hunter2own".to_owned(),
        "g=plugin:/bin/sh#args=-c&args=echo%20%22bad|$PASSWORD=5%22;%20exit%202&env=PASSWORD=hunter2label".to_owned(),
    ];
    let variables = [("API_TOKEN", "hunter2inherited")];
    let server = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", &checks.join(" "));
    let server = variables.iter().fold(server, |server, (name, value)| server.env(name, value)).start();
    let served = ["/?verbose=2", "/?verbose=2&format=text"].map(|path| get(&server.at, path).body);
    let mut command = once::hospital("check");
    command.arg("-vv").args(&checks).envs(variables);
    let checked = once::run(command);
    for text in served.into_iter().chain([checked.stdout, checked.stderr]) {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.is_empty() || text.contains("***"), "{text}");
    }
}
