//! The files for Kubernetes and Nomad: the engines accept them, and hospital does what they expect.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::family::python_program;
use crate::harness::once::{hospital, run};
use crate::harness::{Launch, get};
use serde_json::Value;

const KUBERNETES: [&str; 2] = ["kubernetes/daemonset.yaml", "kubernetes/sidecar.yaml"];

#[test]
#[ignore = "needs kubernetes-validate"]
fn the_files_for_kubernetes_keep_to_the_schemas_of_its_api() {
    for file in KUBERNETES {
        let mut validate = Command::new(python_program("kubernetes-validate"));
        validate.args(["--strict", "--no-warn"]).arg(deployed(file));
        let told = run(validate);
        assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
        // The resources of the Prometheus operator are not in the schemas of Kubernetes.
        let known = manifests(file).iter().filter(|manifest| manifest["kind"] != "PodMonitor").count();
        assert_eq!(told.stdout.matches(" passed for resource ").count(), known, "{}", told.stdout);
    }
}

#[test]
#[ignore = "needs Python's yaml"]
fn what_kubernetes_probes_and_prometheus_scrapes_is_answered() {
    for file in KUBERNETES {
        let manifests = manifests(file);
        let container = hospital_of(pod(&manifests));
        let server = service(container).start();
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let request = &container[probe]["httpGet"];
            assert_eq!(get(&server.at, text(&request["path"])).status, 200, "{file}: {probe}");
            assert_eq!(port(container, text(&request["port"])), 1515, "{file}: {probe}");
        }
        let endpoint = &of_kind(&manifests, "PodMonitor")["spec"]["podMetricsEndpoints"][0];
        let metrics = get(&server.at, text(&endpoint["path"]));
        assert!(metrics.status == 200 && metrics.body.contains("\nhospital_"), "{file}: {}", metrics.body);
        assert_eq!(port(container, text(&endpoint["port"])), 1515);
        // As in the rules for Prometheus.
        let job = &endpoint["relabelings"][0];
        assert_eq!((text(&job["targetLabel"]), text(&job["replacement"])), ("job", "hospital"));
    }
}

#[test]
#[ignore = "needs Python's yaml"]
fn each_pod_has_the_time_that_its_drain_may_take() {
    for file in KUBERNETES {
        let manifests = manifests(file);
        let pod = pod(&manifests);
        let container = hospital_of(pod);
        let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().expect("it is a number"));
        let settings = settings(container);
        assert!(grace > settings.drain_delay + settings.graceful_timeout, "{file}");
        // A check that hangs should be reported by name, and not by a probe that times out.
        if text(&container["readinessProbe"]["httpGet"]["path"]) == "/readyz" {
            let timeout = container["readinessProbe"]["timeoutSeconds"].as_u64().expect("it is a number");
            assert!(Duration::from_secs(timeout) > settings.request_timeout, "{file}");
        }
    }
}

#[test]
#[ignore = "needs Python's yaml"]
fn what_selects_pods_selects_these() {
    for file in KUBERNETES {
        let manifests = manifests(file);
        let labels = &workload(&manifests)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels, &workload(&manifests)["spec"]["selector"]["matchLabels"], "{file}");
        assert_eq!(labels, &of_kind(&manifests, "PodMonitor")["spec"]["selector"]["matchLabels"], "{file}");
        let service = of_kind(&manifests, "Service");
        assert_eq!(labels, &service["spec"]["selector"], "{file}");
        let containers = pod(&manifests)["containers"].as_array().expect("there are some");
        for wanted in service["spec"]["ports"].as_array().expect("there are some") {
            let target = text(&wanted["targetPort"]);
            let named = |container: &Value| container["ports"].as_array().is_some_and(|ports| has(ports, target));
            assert!(containers.iter().any(named), "{file}: no container has the port {target}");
        }
    }
}

#[test]
#[ignore = "needs Python's yaml"]
fn the_checks_in_the_files_are_such_as_there_are() {
    for file in KUBERNETES {
        let manifests = manifests(file);
        assert_listed(&environment(hospital_of(pod(&manifests)), "HEALTHCHECKS"));
    }
    assert_listed(&unquoted(&nomad()["env"][0]["HEALTHCHECKS"]));
}

#[test]
#[ignore = "needs Python's hcl2"]
fn the_job_of_nomad_asks_for_what_is_answered_and_waits_for_the_drain() {
    let (task, group) = (nomad(), group());
    let of = |name: &str| unquoted(&task["env"][0][name]);
    let mut launch = Launch::serve(arguments(&task["config"][0]["args"]).into_iter().skip(1));
    for name in ["HOSPITAL_REQUEST_TIMEOUT", "HOSPITAL_DRAIN_DELAY", "HOSPITAL_GRACEFUL_TIMEOUT"] {
        launch = launch.env(name, &of(name));
    }
    let server = launch.start();
    let checks = group["service"][0]["check"].as_array().expect("there are some");
    assert_eq!(checks.len(), 2);
    for check in checks {
        assert_eq!(get(&server.at, &unquoted(&check["path"])).status, 200);
    }
    let seconds = |text: String| text.trim_end_matches('s').parse::<u64>().expect("it is in seconds");
    let kill = seconds(unquoted(&task["kill_timeout"]));
    assert!(kill > seconds(of("HOSPITAL_DRAIN_DELAY")) + seconds(of("HOSPITAL_GRACEFUL_TIMEOUT")));
    assert!(kill <= 30, "the cluster's own limit");
    assert!(seconds(unquoted(&checks[0]["timeout"])) > seconds(of("HOSPITAL_REQUEST_TIMEOUT")));
    // Consul asks the port that Nomad gives to the service.
    assert_eq!(of("HOSPITAL_PORT"), "${NOMAD_PORT_health}");
    assert_eq!(unquoted(&group["service"][0]["port"]), "health");
}

// --- manifests -----------------------------------------------------------------------------------------

fn deployed(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

/// A file as JSON, loaded by a line of Python.
#[track_caller]
fn parsed(import: &str, load: &str, file: &str) -> Value {
    let script = format!("import {import}, json, sys; print(json.dumps({load}(open(sys.argv[1]))))");
    let mut python = Command::new(python_program("python"));
    python.args(["-c", &script]).arg(deployed(file));
    let told = run(python);
    serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{file}: {error}: {}", told.stderr))
}

#[track_caller]
fn manifests(file: &str) -> Vec<Value> {
    match parsed("yaml", "(lambda file: list(yaml.safe_load_all(file)))", file) {
        Value::Array(manifests) => manifests,
        other => panic!("{file}: {other}"),
    }
}

#[track_caller]
fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> &'a Value {
    manifests.iter().find(|manifest| manifest["kind"] == kind).unwrap_or_else(|| panic!("there is no {kind}"))
}

/// The manifest that makes the pods.
#[track_caller]
fn workload(manifests: &[Value]) -> &Value {
    let makes = |manifest: &&Value| manifest["spec"]["template"].is_object();
    manifests.iter().find(makes).expect("there is one that makes pods")
}

#[track_caller]
fn pod(manifests: &[Value]) -> &Value {
    &workload(manifests)["spec"]["template"]["spec"]
}

#[track_caller]
fn hospital_of(pod: &Value) -> &Value {
    let containers = pod["containers"].as_array().expect("there are some");
    containers.iter().find(|container| container["name"] == "hospital").expect("hospital is one")
}

fn has(ports: &[Value], name: &str) -> bool {
    ports.iter().any(|port| port["name"] == name)
}

#[track_caller]
fn port(container: &Value, name: &str) -> u64 {
    let ports = container["ports"].as_array().expect("there are some");
    let port = ports.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("there is no port {name}"));
    port["containerPort"].as_u64().expect("it is a number")
}

#[track_caller]
fn environment(container: &Value, name: &str) -> String {
    let variables = container["env"].as_array().expect("there are some");
    let variable = variables.iter().find(|variable| variable["name"] == name);
    variable.map_or(String::new(), |variable| text(&variable["value"]).to_owned())
}

/// `hospital` as the container runs it, except for what it checks and where it listens.
#[track_caller]
fn service(container: &Value) -> Launch {
    let arguments = arguments(&container["args"]);
    assert_eq!(arguments[0], "serve");
    let names = container["env"].as_array().expect("there are some").iter().map(|variable| text(&variable["name"]));
    let names = names.filter(|name| *name != "HEALTHCHECKS");
    names.fold(Launch::serve(&arguments[1..]), |launch, name| launch.env(name, &environment(container, name)))
}

struct Settings {
    drain_delay: Duration,
    graceful_timeout: Duration,
    request_timeout: Duration,
}

/// The settings from the variables of a container, including defaults.
#[track_caller]
fn settings(container: &Value) -> Settings {
    let printed = service(container).args(["--print-config"]).printed();
    let time = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix("s\""));
        Duration::from_secs(
            line.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{name}: {printed}")),
        )
    };
    Settings {
        drain_delay: time("HOSPITAL_DRAIN_DELAY"),
        graceful_timeout: time("HOSPITAL_GRACEFUL_TIMEOUT"),
        request_timeout: time("HOSPITAL_REQUEST_TIMEOUT"),
    }
}

/// `hospital list` knows each of the names.
#[track_caller]
fn assert_listed(names: &str) {
    let mut list = hospital("list");
    list.env("HEALTHCHECKS", names);
    let listed = run(list);
    assert_eq!(listed.code, Some(0), "{names}: {}", listed.stderr);
    assert_eq!(listed.stdout.lines().count(), 1 + names.split_whitespace().count(), "{}", listed.stdout);
}

#[track_caller]
fn arguments(list: &Value) -> Vec<String> {
    list.as_array().expect("it is a list").iter().map(unquoted).collect()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

// --- Nomad ---------------------------------------------------------------------------------------------

#[track_caller]
fn group() -> Value {
    let job = parsed("hcl2", "hcl2.load", "nomad/hospital.nomad.hcl");
    job["job"][0]["\"hospital\""]["group"][0]["\"hospital\""].clone()
}

#[track_caller]
fn nomad() -> Value {
    group()["task"][0]["\"hospital\""].clone()
}

/// A text without the quotes that the parser leaves around it.
#[track_caller]
fn unquoted(value: &Value) -> String {
    text(value).trim_matches('"').to_owned()
}
