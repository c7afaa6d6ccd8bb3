//! A real Chromium without a window, driven through chromedriver (W3C WebDriver).

use std::io::Cursor;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{At, Client, DEADLINE, Signal, eventually};

/// A browser with one page. Dropping it ends all its processes.
pub(crate) struct Browser {
    driver: Child,
    at: At,
    session: String,
    /// Its profile, its cache and its output.
    directory: TempDir,
}

/// A picture of the page.
pub(crate) struct Picture {
    pub(crate) png: Vec<u8>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Three bytes for each.
    pub(crate) pixels: Vec<[u8; 3]>,
}

impl Browser {
    #[track_caller]
    pub(crate) fn start() -> Browser {
        let directory = tempfile::tempdir().expect("there is room for a profile");
        let said = directory.path().join("said");
        let mut command = Command::new("chromedriver");
        // Whatever it stores disappears with the directory.
        command.arg("--port=0").env("HOME", directory.path()).env("TMPDIR", directory.path()).process_group(0);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(std::fs::File::create(&said).expect("the directory is ours"));
        let driver = command.spawn().expect("chromedriver is installed");
        let mut browser = Browser { driver, at: At::Nowhere, session: String::new(), directory };
        eventually("chromedriver says where it listens", || {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            let port = said.split("started successfully on port ").nth(1).and_then(|rest| rest.split('.').next());
            if let Some(port) = port.and_then(|port| port.parse().ok()) {
                browser.at = At::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
            !matches!(browser.at, At::Nowhere)
        });
        let profile = browser.directory.path().join("profile");
        let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                     --disable-component-update --disable-sync --disable-dev-shm-usage --disable-breakpad --hide-scrollbars";
        let profile = format!("--user-data-dir={}", profile.display());
        let flags: Vec<_> = flags.split_whitespace().chain([profile.as_str()]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": 30_000, "pageLoad": 30_000},
        }}});
        let session = browser.call("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().expect("a session has an id").to_owned();
        browser
    }

    /// Loads a page, and waits until it has loaded.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// The return value of a function with this body, run in the page.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// [`Browser::run`] for a script that calls its last argument when it is done.
    #[track_caller]
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.command("execute/async", &json!({"script": script, "args": []}))
    }

    /// A command of the Chrome DevTools Protocol.
    #[track_caller]
    pub(crate) fn devtools(&self, command: &str, parameters: Value) {
        self.command("goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }

    /// Makes the page look as on a screen of this size, in light or dark mode.
    #[track_caller]
    pub(crate) fn screen(&self, width: u32, height: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    /// Clicks as a person does: in the middle of the element that the selector finds.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let found = self.command("element", &json!({"using": "css selector", "value": selector}));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("{found} is not an element"));
        self.command(&format!("element/{id}/click"), &json!({}));
    }

    /// Types into the element that has the focus.
    #[track_caller]
    pub(crate) fn press(&self, keys: &str) {
        let press = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})));
        let actions: Vec<_> = press.collect();
        self.command("actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    /// The console messages since the last call: errors, and what a policy has refused.
    #[track_caller]
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().expect("a log is a list");
        entries.iter().filter_map(|entry| entry["message"].as_str()).map(str::to_owned).collect()
    }

    #[track_caller]
    pub(crate) fn picture(&self) -> Picture {
        let path = format!("/session/{}/screenshot", self.session);
        let answer = self.call("GET", &path, &Value::Null);
        let png = BASE64_STANDARD.decode(answer.as_str().expect("it is text")).expect("it is base64");
        let mut decoder = png::Decoder::new(Cursor::new(&png));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().expect("it is a PNG");
        let mut bytes = vec![0; reader.output_buffer_size().expect("it fits")];
        let info = reader.next_frame(&mut bytes).expect("it can be decoded");
        let pixels = bytes[..info.buffer_size()].chunks_exact(info.color_type.samples());
        let pixels = pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Picture { width: info.width, height: info.height, pixels, png }
    }

    #[track_caller]
    fn command(&self, name: &str, body: &Value) -> Value {
        self.call("POST", &format!("/session/{}/{name}", self.session), body)
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut client = Client::to(&self.at);
        client.patience(DEADLINE * 4);
        let length = body.len();
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let answer = client.answer();
        let value = answer.json()["value"].take();
        assert_eq!(answer.status, 200, "{method} {path}: {value}");
        value
    }
}

impl Picture {
    /// The share of the picture, from 0 to 1, that has roughly this colour, `rrggbb`.
    pub(crate) fn share(&self, colour: &str) -> f64 {
        let channel = |at: usize| u8::from_str_radix(&colour[at..at + 2], 16).expect("two digits");
        let wanted = [channel(0), channel(2), channel(4)];
        let near = |pixel: &&[u8; 3]| pixel.iter().zip(wanted).all(|(there, wanted)| there.abs_diff(wanted) <= 2);
        self.pixels.iter().filter(near).count() as f64 / self.pixels.len() as f64
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let group = nix::unistd::Pid::from_raw(self.driver.id() as i32);
        let _ = nix::sys::signal::killpg(group, Signal::SIGKILL);
        let _ = self.driver.wait();
    }
}
