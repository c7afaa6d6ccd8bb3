//! A session with a broker, AMQP 0-9-1: <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>
//!
//! Of its methods, these few are ours. The tables that a broker sends are not read: they may hold each other as deep as it likes,
//! and whoever follows them (as amq-protocol does) runs out of stack.

use std::io::{BufReader, Read, Write};

use crate::checks::excerpt;
use crate::checks::support::connection::{Connection, broken};
use crate::checks::support::login::Login;
use crate::checks::support::secrets::Secrets;
use crate::model::check::{Reason, Result};

/// How long a name may be: its length is a byte.
pub(super) const LONGEST_NAME: usize = 255;

/// What a client says first, and a broker that knows no such version: the protocol and its version.
const HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";

/// Frames.
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;

/// We ask for no heartbeats. Some may come all the same; who sends nothing else shall not keep us busy.
const MOST_HEARTBEATS: usize = 16;

/// How long a frame may be: before that is negotiated, and what we ask for.
const MOST: u32 = 128 * 1024;
const ENOUGH: u32 = 8192;

/// A method, by the numbers of its class and its own.
type Method = (u16, u16);

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const DECLARE: Method = (50, 10);
const DECLARE_OK: Method = (50, 11);

/// The channel of what is said of the connection, and ours.
const CONNECTION: u16 = 0;
const CHANNEL: u16 = 1;

/// A session with a broker.
pub(super) struct Session<'a> {
    stream: BufReader<Box<dyn Connection>>,
    hidden: &'a Secrets,
}

/// What is in a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) messages: u32,
    pub(super) consumers: u32,
}

impl Session<'_> {
    /// Signs in, and opens the virtual host that is the path of the login.
    pub(super) fn open<'a>(connection: Box<dyn Connection>, login: &Login, hidden: &'a Secrets) -> Result<Session<'a>> {
        let mut session = Session { stream: BufReader::new(connection), hidden };
        session.send(HEADER)?;
        let offered = session.wait_for(CONNECTION, START)?;
        let offered = mechanisms(&offered).ok_or_else(out_of_turn)?;
        if !offered.split(|byte| *byte == b' ').any(|mechanism| mechanism == b"PLAIN") {
            let offered = excerpt(offered, offered.len(), hidden);
            return Err(Reason::Error(format!("of its ways to sign in, none is known here: {offered}")));
        }
        // Who gives no account is the guest, as for each client of RabbitMQ.
        let (user, password) = match (&login.user, login.password()?) {
            (None, None) => ("guest", "guest".to_owned()),
            (user, password) => (user.as_deref().unwrap_or("guest"), password.unwrap_or_default()),
        };
        let credentials = ["", user, &password].join("\0");
        // Without the first one, it closes the connection of who may not sign in, and does not say why.
        let able = [&short("authentication_failure_close"), &b"t\x01"[..]].concat();
        let about =
            [&short("product"), &b"S"[..], &long(b"hospital"), &short("capabilities"), b"F", &long(&able)].concat();
        let account = [long(&about), short("PLAIN"), long(credentials.as_bytes()), short("en_US")].concat();
        session.call(CONNECTION, START_OK, &account)?;
        let limits = session.wait_for(CONNECTION, TUNE)?;
        let mut limits = Fields(&limits);
        let (Some(channels), Some(frame), Some(_)) = (limits.u16(), limits.u32(), limits.u16()) else {
            return Err(out_of_turn());
        };
        // 0 is no limit. There are no heartbeats: nobody is silent for long here.
        let frame = if frame == 0 { ENOUGH } else { frame.min(ENOUGH) };
        let tuned = [&channels.to_be_bytes()[..], &frame.to_be_bytes(), &0_u16.to_be_bytes()].concat();
        session.call(CONNECTION, TUNE_OK, &tuned)?;
        session.call(CONNECTION, OPEN, &[&short(&login.path)[..], b"\0\0"].concat())?;
        session.wait_for(CONNECTION, OPEN_OK)?;
        Ok(session)
    }

    pub(super) fn open_channel(&mut self) -> Result {
        self.call(CHANNEL, CHANNEL_OPEN, b"\0")?;
        self.wait_for(CHANNEL, CHANNEL_OPEN_OK).map(drop)
    }

    /// Declares a queue in such a way that none is made.
    pub(super) fn look_at(&mut self, name: &str) -> Result<Queue> {
        const PASSIVE: u8 = 1;
        self.call(CHANNEL, DECLARE, &[&b"\0\0"[..], &short(name), &[PASSIVE], &long(b"")].concat())?;
        let told = self.wait_for(CHANNEL, DECLARE_OK)?;
        let mut told = Fields(&told);
        let same = told.short().filter(|told| *told == name.as_bytes());
        let counts = same.and_then(|_| told.u32().zip(told.u32())).filter(|_| told.0.is_empty());
        counts.map(|(messages, consumers)| Queue { messages, consumers }).ok_or_else(out_of_turn)
    }

    /// Says goodbye; whether that arrives does not matter any more.
    pub(super) fn end(mut self) {
        let _ = self.call(CONNECTION, CLOSE, &[&200_u16.to_be_bytes()[..], &short("goodbye"), &[0; 4]].concat());
    }

    fn call(&mut self, channel: u16, (class, method): Method, arguments: &[u8]) -> Result {
        let length = arguments.len() as u32 + 4;
        let head = [&[METHOD], &channel.to_be_bytes()[..], &length.to_be_bytes()].concat();
        let method = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.send(&[&head, &method, arguments, &[END]].concat())
    }

    fn send(&mut self, bytes: &[u8]) -> Result {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|error| broken(&error))
    }

    /// The arguments of the next method, if it is this one.
    fn wait_for(&mut self, channel: u16, wanted: Method) -> Result<Vec<u8>> {
        for _ in 0..=MOST_HEARTBEATS {
            let (kind, on, payload) = self.frame()?;
            let mut fields = Fields(&payload);
            match (kind, fields.u16().zip(fields.u16())) {
                (HEARTBEAT, _) => {}
                (METHOD, Some(method)) if method == wanted && on == channel => return Ok(fields.0.to_vec()),
                (METHOD, Some(CLOSE | CHANNEL_CLOSE)) => {
                    let refusal = fields.u16().zip(fields.short());
                    return Err(refusal.map_or_else(out_of_turn, |(code, text)| self.refusal(code, text)));
                }
                _ => return Err(out_of_turn()),
            }
        }
        Err(out_of_turn())
    }

    /// The next frame: what it is, its channel, and what is in it.
    fn frame(&mut self) -> Result<(u8, u16, Vec<u8>)> {
        let mut head = [0; 7];
        self.read(&mut head)?;
        let [kind, c, d, length @ ..] = head;
        if head.starts_with(b"AMQP") {
            let mut revision = [0];
            self.read(&mut revision)?;
            let [.., major, minor] = head;
            return Err(Reason::Error(format!(
                "it speaks AMQP {major}.{minor}.{}, and only 0-9-1 is known here",
                revision[0]
            )));
        }
        let length = u32::from_be_bytes(length);
        if ![METHOD, HEARTBEAT].contains(&kind) || length > MOST {
            let got = [&head, self.stream.buffer()].concat();
            let got = excerpt(&got, got.len(), self.hidden);
            return Err(Reason::Fail(format!("it does not speak AMQP 0-9-1: got {got}")));
        }
        let mut payload = vec![0; length as usize + 1];
        self.read(&mut payload)?;
        match payload.pop() {
            Some(END) => Ok((kind, u16::from_be_bytes([c, d]), payload)),
            _ => Err(out_of_turn()),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result {
        self.stream.read_exact(buffer).map_err(|error| broken(&error))
    }

    /// What it says of a broker that it closes the connection or the channel, by the code for that.
    fn refusal(&self, code: u16, text: &[u8]) -> Reason {
        let why = format!("it says {} ({code})", excerpt(text, text.len(), self.hidden));
        match code {
            // We are not let in, there is no such virtual host, or the queue is not for us: it may be well.
            402 | 403 | 405 | 530 => Reason::Error(why),
            _ => Reason::Fail(why),
        }
    }
}

/// The ways to sign in of which a broker tells at the start, separated by spaces.
fn mechanisms(start: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(start);
    let _version = fields.u16()?;
    let _about = fields.long()?;
    fields.long()
}

fn short(text: &str) -> Vec<u8> {
    // Longer ones are refused before, or are ours.
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// What is left of the arguments of a method.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}

fn out_of_turn() -> Reason {
    Reason::Fail("it does not speak AMQP 0-9-1: a frame is not what it should be".to_owned())
}
