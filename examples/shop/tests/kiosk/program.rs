//! A kiosk whose clerk is a thread, with a check on him: to test what a program adds to `hospital::main`.

use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use hospital::{App, Check};

/// Answers each question with the number of its process.
fn hire() -> Sender<Sender<u32>> {
    let (ask, questions) = channel::<Sender<u32>>();
    thread::spawn(move || {
        for answer in questions {
            // Who has asked may have left.
            let _ = answer.send(std::process::id());
        }
    });
    ask
}

fn main() -> ExitCode {
    let clerk = Arc::new(OnceLock::new());
    if std::env::var_os("KIOSK_HIRES_EARLY").is_some() {
        clerk.get_or_init(hire);
    }
    let hired = clerk.clone();
    App::new()
        .setting("fail-status", "503")
        .before_checks(move || {
            hospital::ensure!(std::env::var_os("KIOSK_IS_CLOSED").is_none(), "nobody is here");
            hired.get_or_init(hire);
            Ok(())
        })
        .check(Check::new("kiosk.clerk", move |deadline| -> hospital::Result {
            let (answer, answered) = channel();
            clerk.get().ok_or("there is no clerk")?.send(answer)?;
            let pid = answered.recv_timeout(deadline.remaining(Instant::now()))?;
            hospital::ensure!(pid == std::process::id());
            Ok(())
        }))
        .main()
}
