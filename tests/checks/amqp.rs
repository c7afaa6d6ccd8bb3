//! The kind `amqp`, against a real RabbitMQ on loopback.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::kinds_net::start;
use super::protocols::{Keys, PASSWORD, assert_found, assert_stopped, found, signal};
use crate::harness::drill::assert_sound;
use crate::harness::family::PATIENCE;
use crate::harness::within;
use hospital::model::check::Status::{Error, Fail, Pass};
use nix::sys::signal::Signal;
use nix::unistd::User;

#[test]
#[ignore = "takes long, needs root, rabbitmq-server"]
fn rabbitmq_is_well_frozen_stopped_or_not_what_it_should_be() {
    let nobody = User::from_name("nobody").expect("users can be looked up").expect("there is nobody");
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let keys = Keys::new();
    let folder = keys.folder.path();
    let definitions = format!(
        r#"{{"users": [{{"name": "anna", "password": "{PASSWORD}", "tags": ""}},
                       {{"name": "edda", "password": "{PASSWORD}", "tags": ""}}],
             "vhosts": [{{"name": "/"}}, {{"name": "shop"}}],
             "permissions": [{{"user": "anna", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}},
                             {{"user": "edda", "vhost": "shop", "configure": "^$", "write": "^$", "read": "^$"}}],
             "queues": [{{"name": "orders", "vhost": "shop", "durable": true, "auto_delete": false, "arguments": {{}}}}]}}"#
    );
    fs::write(folder.join("definitions.json"), definitions).expect("there is room");
    let encrypted = free_port();
    let configuration = format!(
        "load_definitions = {0}/definitions.json\nlisteners.ssl.default = 127.0.0.1:{encrypted}\n\
         ssl_options.cacertfile = {0}/ca.pem\nssl_options.certfile = {0}/cert.pem\nssl_options.keyfile = {0}/key.pem\n\
         ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n",
        folder.display()
    );
    fs::write(folder.join("rabbitmq.conf"), configuration).expect("there is room");
    for entry in fs::read_dir(folder).expect("it is ours").flatten().map(|entry| entry.path()).chain([folder.into()]) {
        chown(entry, Some(uid), Some(gid)).expect("we are root");
    }
    // One that Erlang started by itself would outlive the test.
    let (_names, names) = start(|port| {
        let mut names = Command::new("epmd");
        names.uid(uid).gid(gid).args(["-address", "127.0.0.1", "-port"]).arg(port.to_string());
        names
    });
    let (rabbit, port) = start(|port| {
        let mut rabbit = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        rabbit.uid(uid).gid(gid).current_dir(folder).env("HOME", folder);
        rabbit.env("ERL_EPMD_PORT", names.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        // So that its script becomes the server, and does not wait for it.
        rabbit.env("RUNNING_UNDER_SYSTEMD", "1").env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        for (name, file) in [
            ("MNESIA_BASE", "mnesia"),
            ("LOG_BASE", "log"),
            ("ENABLED_PLUGINS_FILE", "plugins"),
            ("CONFIG_FILE", "rabbitmq"),
            ("GENERATED_CONFIG_DIR", "generated"),
            ("PID_FILE", "pid"),
        ] {
            rabbit.env(format!("RABBITMQ_{name}"), folder.join(file));
        }
        rabbit.env("RABBITMQ_NODENAME", format!("hospital{port}@localhost"));
        rabbit.env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1").env("RABBITMQ_NODE_PORT", port.to_string());
        rabbit.env("RABBITMQ_DIST_PORT", free_port().to_string());
        rabbit
    });
    let at = format!("amqp://anna:{PASSWORD}@127.0.0.1:{port}/shop");
    // It accepts before it has all that it is told of.
    within(PATIENCE, "it answers", || found(&[format!("{at}#queue=orders")])[0].0 == Pass);
    assert_found(
        &at,
        &[
            ("", Pass, ""),
            ("#queue=orders&max_messages=0", Pass, ""),
            ("#queue=orders&min_consumers=1", Fail, "at least 1 consumers"),
            ("#queue=nothing", Fail, "(404)"),
            ("per", Error, "(530)"),
        ],
    );
    publish(port);
    let full = [format!("{at}#queue=orders&max_messages=1")];
    within(PATIENCE, "the messages are in the queue", || found(&full)[0].0 == Fail);
    assert_found(
        &at,
        &[
            ("#queue=orders&max_messages=1", Fail, "at most 1 messages may wait in \"orders\", and 2 do"),
            ("#queue=orders&max_messages=2", Pass, ""),
        ],
    );
    let ca = &keys.ca;
    assert_found(
        "",
        &[
            (&format!("amqp://anna:wrong@127.0.0.1:{port}/shop"), Error, "(403)"),
            (&format!("amqp://127.0.0.1:{port}/shop"), Error, "(403)"),
            (&format!("amqp://anna:{PASSWORD}@127.0.0.1:{port}"), Error, "(530)"),
            (&format!("amqp://edda:{PASSWORD}@127.0.0.1:{port}/shop"), Pass, ""),
            (&format!("amqps://anna:{PASSWORD}@127.0.0.1:{encrypted}/shop#ca={ca}&queue=orders"), Pass, ""),
            (&format!("amqps://anna:{PASSWORD}@127.0.0.1:{encrypted}/shop"), Fail, "nobody that is trusted"),
            (&format!("amqps://anna:wrong@127.0.0.1:{encrypted}/shop#insecure"), Error, "(403)"),
            (&format!("amqps://anna:{PASSWORD}@127.0.0.1:{port}/shop#insecure"), Fail, "does not speak TLS"),
            (&format!("amqp://anna:{PASSWORD}@127.0.0.1:{encrypted}/shop"), Fail, ""),
        ],
    );
    assert_sound(
        &[],
        &[
            format!("{at}#queue=orders&timeout=2s"),
            format!("amqps://anna:{PASSWORD}@127.0.0.1:{encrypted}/shop#ca={ca}&timeout=2s"),
        ],
    );
    signal(&rabbit, Signal::SIGSTOP);
    assert_found(&at, &[("#timeout=2s", Fail, "nothing came in time")]);
    // It would take its time to stop.
    signal(&rabbit, Signal::SIGKILL);
    drop(rabbit);
    assert_stopped(&at);
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Puts two messages into the queue.
fn publish(port: u16) {
    let short = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let long = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let frame = |kind: u8, channel: u8, payload: &[&[u8]]| {
        [&[kind, 0, channel][..], &long(&payload.concat()), b"\xce"].concat()
    };
    let account = long(format!("\0anna\0{PASSWORD}").as_bytes());
    let message = [
        frame(1, 1, &[b"\0\x3c\0\x28\0\0\0", &short("orders"), b"\0"]),
        frame(2, 1, &[b"\0\x3c\0\0", &2_u64.to_be_bytes(), b"\0\0"]),
        frame(3, 1, &[b"hi"]),
    ]
    .concat();
    let said = [
        b"AMQP\0\0\x09\x01".to_vec(),
        frame(1, 0, &[b"\0\x0a\0\x0b\0\0\0\0", &short("PLAIN"), &account, &short("en_US")]),
        frame(1, 0, &[b"\0\x0a\0\x1f\0\x01\0\0\x20\0\0\0"]),
        frame(1, 0, &[b"\0\x0a\0\x28", &short("shop"), b"\0\0"]),
        frame(1, 1, &[b"\0\x14\0\x0a\0"]),
        message.clone(),
        message,
        frame(1, 0, &[b"\0\x0a\0\x32\0\xc8\0\0\0\0\0"]),
    ];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it accepts");
    stream.write_all(&said.concat()).expect("it listens");
    // It says goodbye, and waits for us to leave.
    let mut told = Vec::new();
    let mut byte = [0];
    while !told.ends_with(b"\0\x0a\0\x33\xce") {
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&told)));
        told.extend(byte);
    }
}
