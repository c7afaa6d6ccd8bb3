//! Healthchecks that are async functions: the runtime that they run on.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout_at;

use crate::model::check::{Deadline, Finding};

/// How long after its deadline a check is dropped. By then its round has reported it as late.
const GRACE: Duration = Duration::from_millis(100);

/// The runtime of this process, started by the first check that needs it: in a worker that is after the fork. Its one thread
/// waits for sockets and timers. It outlives the round, so that what a check keeps, such as a pool, goes on working.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// Runs a check on the thread that the round gave it, until some time after the deadline.
pub fn wait(deadline: Deadline, check: impl Future<Output = Finding>) -> Finding {
    match handle() {
        Ok(handle) => handle.block_on(async { timeout_at((deadline.instant() + GRACE).into(), check).await }),
        Err(error) => return Finding::error(format!("cannot start a runtime for it: {error}")),
    }
    .unwrap_or_else(|_| Finding::error("it was dropped because it was late"))
}

fn handle() -> std::io::Result<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let started = Builder::new_multi_thread().worker_threads(1).thread_name("async checks").enable_all().build()?;
    Ok(runtime.insert(started).handle().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    use crate::functions::answer::Answer;
    use crate::model::check::Status;

    fn within(millis: u64, check: impl Future<Output = Finding>) -> Finding {
        wait(Deadline::at(Instant::now() + Duration::from_millis(millis)), check)
    }

    #[test]
    fn a_check_may_wait_for_a_timer_and_a_socket() {
        let found = within(60_000, async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            listener.map(|_| ()).finding()
        });
        assert_eq!(found, Finding::PASS);
    }

    #[test]
    fn what_one_run_has_started_goes_on_until_the_next() {
        let (send, receive) = tokio::sync::oneshot::channel();
        within(60_000, async {
            tokio::spawn(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                send.send(()).unwrap_or_default();
            });
            Finding::PASS
        });
        assert_eq!(within(60_000, async { receive.await.finding() }), Finding::PASS);
    }

    #[test]
    fn a_late_check_gives_its_thread_back_and_is_dropped() {
        let held = Arc::new(());
        let its = held.clone();
        let found = within(1, async move {
            std::future::pending::<()>().await;
            drop(its);
            Finding::PASS
        });
        assert_eq!((found.status, Arc::strong_count(&held)), (Status::Error, 1));
    }
}
