//! What a plugin, a file or an operator may write, and a terminal would obey.

use std::fs;

use crate::harness::once::{hospital, run};
use crate::harness::{Launch, get, write_program};

/// Clears the screen, in two ways; turns the line around; forges a line of the log.
const EVIL: &str = "a\\033[2Jb\\302\\233cc\\342\\200\\256d\\342\\201\\247e\\rf";

fn assert_obeys_nothing(place: &str, text: &str) {
    let is_obeyed = |c: char| {
        c.is_control() && !"\n\t".contains(c)
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(is_obeyed), "{place}: {text:?}");
}

#[test]
fn what_a_terminal_would_obey_reaches_no_terminal_no_log_and_no_format() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = |name: &str| folder.path().join(name);
    write_program(&path("plugin"), &format!("#!/bin/sh\nprintf '{EVIL}\\nmore|{EVIL}=1\\n'; exit 2\n"));
    let evil = "a\u{1b}[2Jb\u{9b}c\u{202e}d\u{2067}e";
    let plugin = path("plugin").display().to_string();
    let table = format!(
        "[[check]]\nname = \"evil\"\nuse = \"plugin:{plugin}\"\n[[check]]\nuse = \"unix:/no/{}\"\n",
        "a\\u001b[2Jb\\u009bc\\u202ed\\u2067e"
    );
    fs::write(path("checks.toml"), table).expect("there is room");
    fs::write(path("maintenance"), format!("{evil}\nmore\n")).expect("there is room");
    let file = path("checks.toml").display().to_string();

    let server = Launch::serve(["-w", "1", "--maintenance-file", &path("maintenance").display().to_string(), &file]);
    let server = server.start();
    for format in ["json", "health%2Bjson", "html", "text", "junit", "tap", "nagios", "prometheus"] {
        let body = get(&server.at, &format!("/?verbose&format={format}")).body;
        assert_obeys_nothing(format, &body);
    }
    for place in ["/readyz?verbose", "/metrics", "/no-such-check"] {
        assert_obeys_nothing(place, &get(&server.at, place).body);
    }
    let json: serde_json::Value = serde_json::from_str(&get(&server.at, "/?verbose").body).expect("it is JSON");
    assert!(json["details"].to_string().contains("a\\\\u001b[2Jb"), "{json}");
    assert_obeys_nothing("decoded", &json["details"][0]["context"].to_string());
    assert!(server.stderr().contains("check evil: fail: a\\u001b[2Jb"), "{}", server.stderr());
    assert_obeys_nothing("the log", &server.stderr());

    for args in [&["check"][..], &["check", "-v"], &["list", "-v"], &["list", "--json"]] {
        let mut command = hospital(args[0]);
        command.args(&args[1..]).arg(&file);
        let run = run(command);
        assert_obeys_nothing(&args.join(" "), &(run.stdout + &run.stderr));
    }
    for name in [format!("./{evil}"), format!("tcp://{evil}"), format!("load:#{evil}=1"), format!("load:#title={evil}")]
    {
        let mut command = hospital("check");
        let run = run({
            command.arg(name);
            command
        });
        assert!(run.code == Some(2) && run.stderr.lines().count() == 1, "{}", run.stderr);
        assert_obeys_nothing("a refusal", &run.stderr);
    }
}
