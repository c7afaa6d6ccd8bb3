//! A dialogue by lines, as most protocols of servers have it. What is read of it is bounded.

use std::io::{self, BufRead, BufReader, Read, Write};

/// How much a server may say in one dialogue.
const MOST: u64 = 256 * 1024;

/// A connection on which both sides speak in lines that end with CR LF.
pub(in crate::checks) struct Dialogue<S> {
    reader: io::Take<BufReader<S>>,
}

impl<S: Read + Write> Dialogue<S> {
    pub(in crate::checks) fn new(stream: S) -> Dialogue<S> {
        Dialogue { reader: BufReader::new(stream).take(MOST) }
    }

    /// Sends bytes as they are.
    pub(in crate::checks) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.reader.get_mut().get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// The next line, without its end. It is an error of ours if it is too long to be read, and of the server's if it ends
    /// the connection first.
    pub(in crate::checks) fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(self.ended());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    /// As many bytes, whatever they are.
    pub(in crate::checks) fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.reader).take(count as u64).read_to_end(&mut bytes)?;
        if bytes.len() < count { Err(self.ended()) } else { Ok(bytes) }
    }

    fn ended(&self) -> io::Error {
        match self.reader.limit() {
            0 => io::Error::new(io::ErrorKind::Unsupported, "it says more than 256 KiB, and no more is read"),
            _ => io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"),
        }
    }
}

#[cfg(test)]
pub(in crate::checks) mod testing {
    use std::io::{self, Write};
    use std::net::{Shutdown, TcpListener};
    use std::thread;
    use std::time::{Duration, Instant};

    use crate::checks::{Kind, Options};
    use crate::model::check::{Deadline, Finding};

    /// What is found before a deadline that is so far away. On a machine under load, any run may end late once; what is late each
    /// time is late.
    pub(in crate::checks) fn in_time<T>(limit: Duration, run: impl Fn(Deadline) -> T) -> T {
        let runs = (0..5).map(|_| Deadline::at(Instant::now() + limit)).map(|deadline| (run(deadline), deadline));
        let mut in_time = runs.filter(|(_, deadline)| Instant::now() < deadline.instant());
        in_time.next().expect("it ends before its deadline").0
    }

    /// What a check of this kind finds at a server that says this and leaves. In the target, `{}` is the server's address.
    pub(in crate::checks) fn find(kind: &Kind, target: &str, said: Vec<u8>, pairs: &[(&str, &str)]) -> Finding {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept()?;
            client.write_all(&said)?;
            client.shutdown(Shutdown::Write)?;
            io::copy(&mut client, &mut io::sink())
        });
        let target = target.replace("{}", &address);
        let action = (kind.build)(&target, &mut Options::of(pairs)).expect("it is well formed");
        let found = action(Deadline::at(Instant::now() + Duration::from_secs(20)));
        let _ = server.join().expect("the server does not panic");
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that has said all it says, and hears nothing.
    struct Said(&'static [u8]);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_and_bytes_are_read_until_the_connection_ends() {
        let mut dialogue = Dialogue::new(Said(b"+OK\r\nplain\n\r\nfour\0half"));
        for line in ["+OK", "plain", ""] {
            assert_eq!(dialogue.line().expect("it is there"), line.as_bytes());
        }
        assert_eq!(dialogue.bytes(5).expect("they are there"), b"four\0");
        let kind = dialogue.line().expect_err("it does not end").kind();
        assert_eq!(kind, io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_server_that_talks_without_end_is_not_listened_to() {
        let long: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
        let kind = Dialogue::new(Said(long)).line().expect_err("it does not end").kind();
        assert_eq!(kind, io::ErrorKind::Unsupported);
        let kind = Dialogue::new(Said(long)).bytes(usize::MAX).expect_err("it is too much").kind();
        assert_eq!(kind, io::ErrorKind::Unsupported);
    }
}
