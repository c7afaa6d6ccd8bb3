//! `amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST]`, `amqps://` with TLS: a RabbitMQ or another broker of AMQP 0-9-1 opens a
//! channel, and a queue is as it should be.

mod session;

use std::time::Instant;

use super::support::connection::Transport;
use super::support::login::{Login, PASSWORD_FILE};
use super::support::secrets::Secrets;
use super::support::thresholds::{self, Good};
use super::support::timed;
#[cfg(feature = "tls")]
use super::support::{
    opt::joined,
    tls_settings::{self, TlsSettings},
};
use super::{Action, Kind, Opt, Options, Runs, Value, since};
use crate::model::check::{Deadline, Finding, Reason, Result};
use crate::model::control::Control;
use crate::model::perfdata::Perfdata;
use session::{LONGEST_NAME, Queue, Session};

const OPTIONS: [Opt; 6] = [
    PASSWORD_FILE,
    Opt::new("queue", Value::Text, "The queue that there has to be"),
    Opt::new("max_messages", Value::Number, "So many messages may wait in it"),
    Opt::new("warn_max_messages", Value::Number, "If more messages than this wait in it, it warns"),
    Opt::new("min_consumers", Value::Number, "So many consumers have to take them out"),
    Opt::new("warn_min_consumers", Value::Number, "If fewer consumers than this take them out, it warns"),
];

pub(super) const KIND: Kind = Kind {
    scheme: "amqp",
    port: Some(5672),
    options: &OPTIONS,
    runs: Runs::OnThread,
    controls: Control::NETWORK,
    title: "amqp://{target} opens a channel",
    passes: "a RabbitMQ or another broker of AMQP 0-9-1 lets us in and opens a channel",
    notices: &["refused", "black_hole", "rubbish", "starved"],
    examples: &["amqp://anna:secret@localhost/shop#queue=orders&min_consumers=1"],
    build: |target, options| build(Transport::Tcp, 5672, target, options),
};

#[cfg(feature = "tls")]
const TLS_OPTIONS: [Opt; 11] = joined(OPTIONS, tls_settings::OPTIONS);

#[cfg(feature = "tls")]
pub(super) const KIND_AMQPS: Kind = Kind {
    scheme: "amqps",
    port: Some(5671),
    options: &TLS_OPTIONS,
    title: "amqps://{target} opens a channel",
    passes: "the same, and the certificate is trusted",
    notices: &["refused", "black_hole", "rubbish", "stranger: another certificate", "starved"],
    examples: &["amqps://anna:secret@localhost/shop#ca=/etc/ssl/rabbitmq.pem"],
    build: |target, options| build(Transport::Tls(TlsSettings::take(options)?), 5671, target, options),
    ..KIND
};

struct AmqpProbe {
    login: Login,
    transport: Transport,
    queue: Option<ExpectedQueue>,
    hidden: Secrets,
}

struct ExpectedQueue {
    name: String,
    hard: Limits,
    milder: Limits,
}

/// What may be in a queue.
struct Limits {
    max_messages: Option<u32>,
    min_consumers: Option<u32>,
}

fn build(transport: Transport, port: u16, target: &str, options: &mut Options) -> std::result::Result<Action, String> {
    let mut login = Login::take(target, port, options)?;
    if login.path.contains('?') {
        return Err("the target is not [USER:PASSWORD@]HOST[:PORT][/VHOST]: it takes no parameters".to_owned());
    }
    if login.path.is_empty() {
        "/".clone_into(&mut login.path);
    }
    if login.path.len() > LONGEST_NAME {
        return Err(format!("a vhost has a name of at most {LONGEST_NAME} bytes"));
    }
    const OF_A_QUEUE: [&str; 4] = ["max_messages", "min_consumers", "warn_max_messages", "warn_min_consumers"];
    options.go_with("queue", "a queue", &OF_A_QUEUE)?;
    let queue = options.parse("queue", |name| match name.len() > LONGEST_NAME {
        true => Err(format!("write a name of at most {LONGEST_NAME} bytes")),
        false => Ok(name.to_owned()),
    })?;
    let hard = Limits { max_messages: options.whole("max_messages")?, min_consumers: options.whole("min_consumers")? };
    let milder = Limits {
        max_messages: options.whole("warn_max_messages")?,
        min_consumers: options.whole("warn_min_consumers")?,
    };
    let most = hard.max_messages.as_ref().map(|limit| (limit, limit.to_string()));
    let least = hard.min_consumers.as_ref().map(|limit| (limit, limit.to_string()));
    thresholds::verify(Good::Below, "max_messages", most, milder.max_messages.as_ref())?;
    thresholds::verify(Good::Above, "min_consumers", least, milder.min_consumers.as_ref())?;
    let queue = queue.map(|name| ExpectedQueue { name, hard, milder });
    let probe = AmqpProbe { login, transport, queue, hidden: options.hidden() };
    Ok(Box::new(move |deadline| probe.run(deadline)))
}

impl AmqpProbe {
    fn run(&self, deadline: Deadline) -> Finding {
        let began = Instant::now();
        let told = |why| format!("expected amqp at {} to be well: {why} ({})", self.login.server, since(began));
        match (self.ask(timed::before(deadline)), &self.queue) {
            (Ok(Some(found)), Some(ExpectedQueue { name, hard, milder })) => {
                let verdict = |limits: &Limits| limits.verdict(name, found).map_err(|reason| reason.told(told));
                let finding = Finding { perfdata: found.perfdata(), ..Finding::from(verdict(hard)) };
                thresholds::judged(finding, || verdict(milder))
            }
            (Ok(_), _) => Finding::PASS,
            (Err(reason), _) => Finding::from(Err(reason.told(told))),
        }
    }

    /// What there is in the queue, if there is one to look at.
    fn ask(&self, deadline: Deadline) -> Result<Option<Queue>> {
        let connection = self.transport.connect(&self.login.server, deadline)?;
        let mut session = Session::open(connection, &self.login, &self.hidden)?;
        session.open_channel()?;
        let queue = self.queue.as_ref().map(|queue| session.look_at(&queue.name)).transpose()?;
        session.end();
        Ok(queue)
    }
}

impl Limits {
    fn verdict(&self, name: &str, Queue { messages, consumers }: Queue) -> Result {
        if let Some(most) = self.max_messages.filter(|most| messages > *most) {
            return Err(Reason::Fail(format!("at most {most} messages may wait in {name:?}, and {messages} do")));
        }
        if let Some(least) = self.min_consumers.filter(|least| consumers < *least) {
            let why = format!("at least {least} consumers have to take messages out of {name:?}, and {consumers} do");
            return Err(Reason::Fail(why));
        }
        Ok(())
    }
}

impl Queue {
    fn perfdata(self) -> Vec<Perfdata> {
        [("messages", self.messages), ("consumers", self.consumers)]
            .map(|(name, number)| Perfdata::new(name, f64::from(number), ""))
            .to_vec()
    }
}

#[cfg(test)]
mod tests;
