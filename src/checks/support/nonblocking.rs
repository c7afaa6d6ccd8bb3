//! A connection for a client that is a future, without a runtime: it is polled on the thread of its check, which waits for
//! the socket in between.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use rustls::{ClientConnection, StreamOwned};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::timed::Timed;
use crate::model::check::Deadline;
use crate::os::descriptors::{self, Ready};

/// A connection that never waits.
pub(in crate::checks) struct Nonblocking {
    stream: Box<dyn Connection>,
    readiness: Readiness,
}

/// What its future waits for.
#[derive(Clone)]
pub(in crate::checks) struct Readiness {
    socket: Rc<OwnedFd>,
    is_full: Rc<Cell<bool>>,
    deadline: Deadline,
}

impl Nonblocking {
    pub(in crate::checks) fn new<S>(mut stream: Timed<S>, deadline: Deadline) -> io::Result<Nonblocking>
    where
        S: Read + Write + AsFd + 'static,
    {
        let readiness = Readiness::of(stream.never_wait()?, deadline);
        Ok(Nonblocking { stream: Box::new(stream), readiness })
    }

    /// The same after a handshake, which has waited for the server.
    pub(in crate::checks) fn secured<S>(
        mut stream: StreamOwned<ClientConnection, Timed<S>>,
        deadline: Deadline,
    ) -> io::Result<Nonblocking>
    where
        S: Read + Write + AsFd + 'static,
    {
        let readiness = Readiness::of(stream.sock.never_wait()?, deadline);
        Ok(Nonblocking { stream: Box::new(stream), readiness })
    }

    pub(in crate::checks) fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    fn polled<T>(&self, result: io::Result<T>, ready: Ready) -> Poll<io::Result<T>> {
        match (result, ready) {
            (Err(error), Ready::ToRead) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            (Err(error), Ready::ToWrite) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readiness.is_full.set(true);
                Poll::Pending
            }
            (result, _) => Poll::Ready(result),
        }
    }
}

impl Readiness {
    fn of(socket: OwnedFd, deadline: Deadline) -> Readiness {
        Readiness { socket: Rc::new(socket), is_full: Rc::default(), deadline }
    }

    fn is_over(&self) -> bool {
        self.deadline.remaining(Instant::now()).is_zero()
    }

    /// Polls a future that waits for nothing but this connection, until it ends or there is no time left.
    pub(in crate::checks) fn run<T>(&self, future: impl Future<Output = T>) -> io::Result<T> {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut future = pin!(future);
        loop {
            self.is_full.set(false);
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(value);
            }
            if self.is_over() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // One part of it may have woken another.
            if !woken.0.swap(false, Ordering::Relaxed) {
                let ready = if self.is_full.get() { Ready::ToWrite } else { Ready::ToRead };
                descriptors::wait(&self.socket, ready, self.deadline.instant())?;
            }
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Nonblocking {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.stream.read(buffer.initialize_unfilled());
        self.polled(read, Ready::ToRead).map_ok(|count| buffer.advance(count))
    }
}

impl AsyncWrite for Nonblocking {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream.write(bytes);
        self.polled(written, Ready::ToWrite)
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream.flush();
        self.polled(flushed, Ready::ToWrite)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
