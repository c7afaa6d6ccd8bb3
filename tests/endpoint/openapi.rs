//! `docs/openapi.yaml` tells the truth: each answer that it describes is provoked, and schemathesis tries more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::family::python_program;
use crate::harness::{Answer, At, Client, Launch, Server, get};
use yaml_rust2::{Yaml, YamlLoader};

/// The headers that every answer has.
const OF_HTTP: [&str; 5] = ["server", "date", "content-type", "content-length", "connection"];

#[test]
fn each_answer_that_it_describes_is_given() {
    let file = file();
    let service = Service::start();
    let mut given = 0;
    for (path, item) in file["paths"].as_hash().expect("there are paths") {
        let path = text(path);
        for method in ["get", "head", "options"] {
            for (status, response) in item[method]["responses"].as_hash().expect("each method has answers") {
                let (status, response) = (text(status), resolved(&file, response));
                let what = format!("{method} {path}: {status}");
                let answer = service.provoke(method, path, status);
                assert_eq!(answer.status.to_string(), status, "{what}: {}", answer.body);
                compare(&file, &answer, response, &what);
                given += 1;
            }
        }
        assert_eq!(item.as_hash().map(|item| item.keys().filter(|key| text(key) != "parameters").count()), Some(3));
    }
    assert!(given > 100, "only {given} answers were looked at");
}

#[test]
fn each_media_type_that_it_names_is_spoken() {
    let file = file();
    let service = Service::start();
    for (path, item) in file["paths"].as_hash().expect("there are paths") {
        for status in ["200", "500"] {
            let response = resolved(&file, &item["get"]["responses"][status]);
            for media_type in response["content"].as_hash().into_iter().flat_map(|content| content.keys()).map(text) {
                let server = if status == "200" { &service.well } else { &service.ill };
                let mut client = Client::to(&server.at);
                let path = text(path);
                let path = path.replace("{selection}", if is_remembered(path) { "shop.db" } else { "shop" });
                client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {media_type}\r\n\r\n"));
                let answer = client.answer();
                assert_eq!(essence(&answer), media_type, "{path}: {status}");
                compare(&file, &answer, response, &path);
            }
        }
    }
}

#[test]
fn it_knows_what_the_code_and_the_manual_know() {
    let (file, server) = (file(), Server::start::<_, &str>([]));
    assert_eq!(file["info"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));

    let refusal = get(&server.at, "/?format=nonsense").json()["message"].to_string();
    let formats = list(&file["components"]["parameters"]["format"]["schema"]["enum"]);
    assert!(refusal.contains(&format!("(known: {})", formats.join(", "))), "{refusal}");

    let manual = fs::read_to_string(root().join("docs/ENDPOINT.md")).expect("there is a manual");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let of_manual: BTreeSet<_> = rows
        .clone()
        .filter_map(|cell| cell.strip_prefix("`/")?.strip_suffix('`'))
        .map(|path| {
            format!("/{}", path.split('<').next().unwrap_or_default())
                + if path.contains('<') { "{selection}" } else { "" }
        })
        .collect();
    let paths: BTreeSet<_> = keys(&file["paths"]).map(str::to_owned).collect();
    assert_eq!(paths, of_manual);

    let codes = rows.flat_map(|cell| cell.split(", ")).filter(|cell| cell.len() == 3 && cell.parse::<u16>().is_ok());
    // 405 is for methods that the file does not describe.
    let codes: BTreeSet<_> = codes.filter(|code| *code != "405").chain(["200", "500", "503"]).collect();
    let responses = file["paths"].as_hash().expect("there are paths").values();
    let described: BTreeSet<_> = responses.flat_map(|item| keys(&item["get"]["responses"])).collect();
    assert_eq!(described, codes);
}

#[test]
#[ignore = "needs schemathesis"]
fn schemathesis_finds_no_fault() {
    let service = Service::start();
    let At::Tcp(address) = service.well.at else { panic!("{:?} has no URL", service.well.at) };
    let scratch = tempfile::tempdir().expect("there is room for what it keeps");
    let output = Command::new(python_program("schemathesis"))
        .arg("run")
        .arg(root().join("docs/openapi.yaml"))
        .args(["--url", &format!("http://{address}"), "--checks", "all"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--max-response-time", "5"])
        // Each run asks the same.
        .args(["--generation-deterministic", "--continue-on-failure", "--no-color"])
        .current_dir(scratch.path())
        .output()
        .expect("schemathesis is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let generated = said.lines().find_map(|line| line.trim().split_once(" generated"));
    let generated: u32 = generated.expect("it says how much it has tried").0.parse().expect("that is a number");
    assert!(generated > 500, "{said}");
}

/// The same checks: where they pass, where they fail, where a token is asked for, in maintenance, and while one starts.
struct Service {
    well: Server,
    ill: Server,
    locked: Server,
    closed: Server,
    maintained: Server,
    starting: Server,
}

impl Service {
    fn start() -> Service {
        let launch = |broken: bool| {
            let launch = Launch::serve(["-w", "1", "--header-timeout", "50ms"]);
            let names = ["db", "mail"].map(|name| {
                let path = launch.path(name);
                if !broken {
                    fs::write(&path, "").expect("the directory is ours");
                }
                format!("shop.{name}=file:{}#tag=readiness", path.display())
            });
            launch.env("HEALTHCHECKS", &names.join(" "))
        };
        let maintained = launch(false);
        let file = maintained.path("mail").display().to_string();
        let maintained = maintained.args(["--maintenance-file", &file]);
        let locked = launch(false);
        let file = locked.path("db").display().to_string();
        fs::write(&file, "s3cret").expect("the directory is ours");
        let locked = locked.args(["--details", "token", "--token-file", &file]);
        let starting = Launch::serve(["-w", "1"]).env("HEALTHCHECKS", "db=file:/no/such#grace=1h").start();
        let closed = launch(false).args(["--details", "never"]);
        let (well, ill) = (launch(false), launch(true));
        Service {
            well: well.start(),
            ill: ill.start(),
            locked: locked.start(),
            closed: closed.start(),
            maintained: maintained.start(),
            starting,
        }
    }

    /// Sends the request that is answered with this status.
    fn provoke(&self, method: &str, path: &str, status: &str) -> Answer {
        let selection = if is_remembered(path) && status != "404" { "shop.db" } else { "shop" };
        let (method, path) = (method.to_uppercase(), path.replace("{selection}", selection));
        let request =
            |target: &str, fields: &str| format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let (server, request) = match status {
            "200" => (&self.well, request(&path, "")),
            "400" => (&self.well, request(&format!("{path}?tag=%ff"), "")),
            "401" => (&self.locked, request(&path, "Authorization: Bearer wrong\r\n")),
            "403" => (&self.closed, request(&path, "")),
            "404" => (&self.well, request(&format!("{path}?exclude=shop"), "")),
            "406" => (&self.well, request(&path, "Accept: image/png\r\n")),
            "408" => (&self.well, format!("{method} {path} HTTP/1.1\r\n")),
            "414" => (&self.well, request(&format!("{path}?{}", "x".repeat(10_000)), "")),
            "431" => (&self.well, request(&path, &format!("X: {}\r\n", "x".repeat(10_000)))),
            "500" => (&self.ill, request(&path, "")),
            "501" => (&self.well, request(&path, "Transfer-Encoding: gzip\r\n")),
            "503" if path == "/startupz" => (&self.starting, request(&path, "")),
            "503" => (&self.maintained, request(&path, "")),
            "505" => (&self.well, format!("{method} {path} HTTP/2.0\r\n\r\n")),
            _ => panic!("{status} is not known to come"),
        };
        let mut client = Client::to(&server.at);
        client.send(request);
        if method == "HEAD" { client.answer_to_head() } else { client.answer() }
    }
}

/// Whether a path is about one check, which is not run.
fn is_remembered(path: &str) -> bool {
    path.starts_with("/why/") || path.starts_with("/history/")
}

/// The headers and the media type are among those described, and the required ones are there.
#[track_caller]
fn compare(file: &Yaml, answer: &Answer, response: &Yaml, what: &str) {
    let described = response["headers"].as_hash().expect("each answer has headers");
    for (name, header) in described {
        let is_there = answer.header(&text(name).to_lowercase()).is_some();
        let needed = resolved(file, header)["required"].as_bool() == Some(true);
        assert!(is_there || !needed, "{what}: {} is missing", text(name));
    }
    for (name, _) in answer.headers.iter().filter(|(name, _)| !OF_HTTP.contains(&name.as_str())) {
        let is_described = described.keys().any(|key| text(key).eq_ignore_ascii_case(name));
        assert!(is_described || what.starts_with("head "), "{what}: {name} is not described");
    }
    if let Some(content) = response["content"].as_hash() {
        assert!(
            content.keys().map(text).any(|media_type| media_type == essence(answer)),
            "{what}: {}",
            essence(answer)
        );
    }
}

/// The media type without its parameters.
fn essence(answer: &Answer) -> &str {
    answer.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default()
}

fn file() -> Yaml {
    let text = fs::read_to_string(root().join("docs/openapi.yaml")).expect("the file is there");
    YamlLoader::load_from_str(&text).expect("it is YAML").remove(0)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The target of a `$ref`, or the thing itself.
fn resolved<'a>(file: &'a Yaml, thing: &'a Yaml) -> &'a Yaml {
    let Some(reference) = thing["$ref"].as_str() else { return thing };
    let steps = reference.strip_prefix("#/").expect("it is a reference into the file").split('/');
    let found = steps.fold(file, |thing, step| &thing[step]);
    assert!(!found.is_badvalue(), "{reference} is not there");
    found
}

fn keys(thing: &Yaml) -> impl Iterator<Item = &str> {
    thing.as_hash().expect("it is a mapping").keys().map(text)
}

fn list(thing: &Yaml) -> Vec<&str> {
    thing.as_vec().expect("it is a list").iter().map(text).collect()
}

fn text(thing: &Yaml) -> &str {
    thing.as_str().expect("it is text")
}
