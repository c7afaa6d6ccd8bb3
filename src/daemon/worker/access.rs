//! The access log: one line for each answer, safe to read and without secrets.
//!
//! The Authorization field is never shown. Of a query, only the parameters that hospital knows are shown, as others may
//! be tokens; a Referer loses its query. Sources: the "combined" format of Apache's mod_log_config; RFC 8259.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::config::AccessFormat;
use crate::daemon::logging;

/// How much of a target and of a field is shown, in bytes as written: with everything around them a line stays below 4
/// KiB, which a pipe takes as a whole or not at all.
const TARGET: usize = 2000;
const FIELD: usize = 500;

/// Replaces what may be a secret.
const HIDDEN: &[u8] = b"***";

/// The parameters that hospital knows.
const PARAMETERS: [&[u8]; 5] = [b"tag", b"exclude", b"verbose", b"format", b"signin"];

/// An answer, and the request that it answers.
pub(super) struct AccessEntry<'a> {
    pub(super) time: SystemTime,
    /// The same, in the form of the Date field.
    pub(super) date: &'a str,
    pub(super) peer: Option<IpAddr>,
    /// What has arrived of the request's head, well formed or not.
    pub(super) head: &'a [u8],
    pub(super) status: u16,
    pub(super) length: usize,
    pub(super) request_id: (&'a str, u64),
    /// From the last byte of the head to the answer.
    pub(super) took: Duration,
}

/// Writes the access log of one worker.
pub(super) struct AccessLog {
    format: AccessFormat,
    line: String,
}

/// The first line of a request, as far as it is safe to show.
struct RequestLine<'a> {
    method: &'a [u8],
    target: Vec<u8>,
    version: Option<&'a [u8]>,
}

impl AccessLog {
    /// A log in this format; `None` if there is no access log.
    pub(super) fn new(format: AccessFormat) -> Option<AccessLog> {
        logging::has_access().then(|| AccessLog { format, line: String::new() })
    }

    pub(super) fn write(&mut self, entry: &AccessEntry<'_>) {
        self.line.clear();
        match self.format {
            AccessFormat::Combined => combined(entry, &mut self.line),
            AccessFormat::Json => json(entry, &mut self.line),
        }
        logging::access(self.line.as_bytes());
    }
}

fn combined(entry: &AccessEntry<'_>, out: &mut String) {
    let AccessEntry { time: _, date, peer, head, status, length, request_id: (process, number), took } = *entry;
    match peer {
        Some(peer) => write!(out, "{}", peer.to_canonical()),
        None => write!(out, "-"),
    }
    .expect("a string takes all");
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let (day, month, year, clock) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
    write!(out, " - - [{day}/{month}/{year}:{clock} +0000] \"").expect("a string takes all");
    match RequestLine::of(head) {
        Some(RequestLine { method, target, version }) => {
            escape(method, FIELD, out);
            out.push(' ');
            escape(&target, TARGET, out);
            if let Some(version) = version {
                out.push(' ');
                escape(version, FIELD, out);
            }
        }
        None => out.push('-'),
    }
    write!(out, "\" {status} {} \"", sent(head, length)).expect("a string takes all");
    escape(&field(head, "referer").map_or(b"-".to_vec(), without_query), FIELD, out);
    out.push_str("\" \"");
    escape(field(head, "user-agent").unwrap_or(b"-"), FIELD, out);
    writeln!(out, "\" {process}{number} {:.6}", took.as_secs_f64()).expect("a string takes all");
}

fn json(entry: &AccessEntry<'_>, out: &mut String) {
    let AccessEntry { time, date: _, peer, head, status, length, request_id: (process, number), took } = *entry;
    write!(out, "{{\"time\":\"{}\"", humantime::format_rfc3339_millis(time)).expect("a string takes all");
    let peer = peer.map(|peer| peer.to_canonical().to_string());
    quote("client", peer.as_deref().map(str::as_bytes), FIELD, out);
    let line = RequestLine::of(head);
    quote("method", line.as_ref().map(|line| line.method), FIELD, out);
    quote("target", line.as_ref().map(|line| &line.target[..]), TARGET, out);
    quote("protocol", line.as_ref().and_then(|line| line.version), FIELD, out);
    write!(out, ",\"status\":{status},\"bytes\":{}", sent(head, length)).expect("a string takes all");
    quote("referer", field(head, "referer").map(without_query).as_deref(), FIELD, out);
    quote("user_agent", field(head, "user-agent"), FIELD, out);
    writeln!(out, ",\"request_id\":\"{process}{number}\",\"seconds\":{:.6}}}", took.as_secs_f64())
        .expect("a string takes all");
}

/// How many bytes of the body are sent.
fn sent(head: &[u8], length: usize) -> usize {
    if head.starts_with(b"HEAD ") { 0 } else { length }
}

impl<'a> RequestLine<'a> {
    /// `None` for anything that is not a request line: it might even be a field with a password.
    fn of(head: &'a [u8]) -> Option<RequestLine<'a>> {
        let line = head.split(|&byte| byte == b'\n').next()?;
        let mut words = line.strip_suffix(b"\r").unwrap_or(line).split(|&byte| byte == b' ');
        let method = words.next().filter(|word| (1..=16).contains(&word.len()))?;
        let target = words.next()?;
        let version = words.next().filter(|word| word.starts_with(b"HTTP/") && word.len() <= 8);
        let is_method = method.iter().all(u8::is_ascii_alphabetic);
        is_method.then(|| RequestLine { method, target: shown_target(target), version })
    }
}

/// The target without possible secrets.
fn shown_target(target: &[u8]) -> Vec<u8> {
    let is_url = [&b"http://"[..], b"https://"].iter().any(|scheme| starts_with(target, scheme));
    if !is_url && !target.starts_with(b"/") && target != b"*" {
        return HIDDEN.to_vec();
    }
    let mut shown = without_query(target);
    if let Some(query) = target.iter().position(|&byte| byte == b'?').map(|at| &target[at + 1..]) {
        let query = query.split(|&byte| byte == b'#').next().unwrap_or_default();
        for (index, pair) in query.split(|&byte| byte == b'&').enumerate() {
            shown.push(if index == 0 { b'?' } else { b'&' });
            shown.extend_from_slice(if is_ours(pair) { pair } else { HIDDEN });
        }
    }
    shown
}

/// Whether this is a parameter that hospital knows, with nothing in its value that could begin another.
fn is_ours(pair: &[u8]) -> bool {
    let mut parts = pair.splitn(2, |&byte| byte == b'=');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~:/%+*-".contains(byte);
    pair.is_empty() || PARAMETERS.contains(&name) && value.iter().all(is_plain)
}

/// An address without its query, its fragment and its user.
fn without_query(address: &[u8]) -> Vec<u8> {
    let end = address.iter().position(|byte| b"?#".contains(byte)).unwrap_or(address.len());
    let address = &address[..end];
    let Some(start) = address.windows(3).position(|bytes| bytes == b"://").map(|at| at + 3) else {
        return address.to_vec();
    };
    let authority = address[start..].split(|&byte| byte == b'/').next().unwrap_or_default();
    let host = authority.iter().rposition(|&byte| byte == b'@').map_or(0, |at| at + 1);
    [&address[..start], &address[start + host..]].concat()
}

/// The value of the first field with this name, which is given in lower case.
fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let value = line.get(name.len()..)?.strip_prefix(b":")?;
        line[..name.len()].eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

/// Appends text for use inside quotes: quotes, backslashes and everything that is not printable ASCII become `\x22` and
/// the like.
fn escape(text: &[u8], most: usize, out: &mut String) {
    let pieces = text.iter().map(|&byte| match byte {
        b'"' | b'\\' => format!("\\x{byte:02x}"),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    });
    append(pieces, most, out);
}

/// Appends a member of a JSON object, in ASCII; `null` if there is no text.
fn quote(name: &str, text: Option<&[u8]>, most: usize, out: &mut String) {
    write!(out, ",\"{name}\":").expect("a string takes all");
    let Some(text) = text else { return out.push_str("null") };
    out.push('"');
    let text = String::from_utf8_lossy(text);
    let pieces = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        _ => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    });
    append(pieces, most, out);
    out.push('"');
}

/// Appends as many whole pieces as fit.
fn append(pieces: impl Iterator<Item = String>, most: usize, out: &mut String) {
    let end = out.len() + most;
    for piece in pieces {
        if out.len() + piece.len() > end {
            out.push_str("...");
            return;
        }
        out.push_str(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(head: &[u8]) -> AccessEntry<'_> {
        AccessEntry {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_123),
            date: "Sun, 06 Nov 1994 08:49:37 GMT",
            peer: Some(IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1])),
            head,
            status: 200,
            length: 352,
            request_id: ("42-", 7),
            took: Duration::from_micros(1234),
        }
    }

    fn line(write: fn(&AccessEntry<'_>, &mut String), head: &[u8]) -> String {
        let mut out = String::new();
        write(&entry(head), &mut out);
        out
    }

    fn target(text: &str) -> String {
        String::from_utf8(shown_target(text.as_bytes())).expect("it was text")
    }

    #[test]
    fn a_combined_line_is_that_of_apache_with_the_id_and_the_duration_behind() {
        let head = b"GET /db?verbose HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8\r\nreferer: http://a/b?c=d\r\n\r\n";
        assert_eq!(
            line(combined, head),
            "127.0.0.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /db?verbose HTTP/1.1\" 200 352 \"http://a/b\" \
             \"curl/8\" 42-7 0.001234\n"
        );
        assert_eq!(
            line(combined, b""),
            "127.0.0.1 - - [06/Nov/1994:08:49:37 +0000] \"-\" 200 352 \"-\" \"-\" 42-7 0.001234\n"
        );
    }

    #[test]
    fn a_json_line_is_an_object() {
        assert_eq!(
            line(json, b"HEAD / HTTP/1.0\r\nUser-Agent: \"\\\xff\xc3\xa9\x1b\r\n\r\n"),
            "{\"time\":\"1994-11-06T08:49:37.123Z\",\"client\":\"127.0.0.1\",\"method\":\"HEAD\",\"target\":\"/\",\
             \"protocol\":\"HTTP/1.0\",\"status\":200,\"bytes\":0,\"referer\":null,\
             \"user_agent\":\"\\\"\\\\\\ufffd\\u00e9\\u001b\",\"request_id\":\"42-7\",\"seconds\":0.001234}\n"
        );
    }

    #[test]
    fn what_could_end_a_field_or_a_line_is_escaped() {
        let head = b"GET /\"x\\\x1b[31m HTTP/1.1\r\nUser-Agent: a\" 500 \"\x7f\xc3\xa9\tb\r\n\r\n";
        let line = line(combined, head);
        assert!(line.contains("\"GET /\\x22x\\x5c\\x1b[31m HTTP/1.1\""), "{line}");
        assert!(line.contains("\"a\\x22 500 \\x22\\x7f\\xc3\\xa9\\x09b\""), "{line}");
    }

    #[test]
    fn of_a_query_only_what_hospital_knows_is_shown() {
        for (asked, shown) in [
            ("/?tag=a&exclude=tcp://db:1&verbose&format=tap", "/?tag=a&exclude=tcp://db:1&verbose&format=tap"),
            ("/db?token=s3cret&tag=a", "/db?***&tag=a"),
            ("/?s3cret", "/?***"),
            ("/?tag=a;token=s3cret", "/?***"),
            ("/?tag=a#s3cret", "/?tag=a"),
            ("/#s3cret", "/"),
            ("/?", "/?"),
            ("*", "*"),
            ("http://user:s3cret@host/db?x=s3cret", "http://host/db?***"),
            ("HTTPS://user:s3c@ret@host", "HTTPS://host"),
            ("user:s3cret@host:443", "***"),
            ("s3cret", "***"),
        ] {
            assert_eq!(target(asked), shown, "{asked}");
        }
    }

    #[test]
    fn what_is_no_request_is_not_shown() {
        for head in
            ["Authorization: Bearer s3cret\r\n", "s3cret", "\x16\x03\x01 s3cret", " s3cret s3cret", "\r\ns3cret"]
        {
            assert!(!line(combined, head.as_bytes()).contains("s3cret"), "{head:?}");
            assert!(!line(json, head.as_bytes()).contains("s3cret"), "{head:?}");
        }
        assert!(line(combined, b"GET /half").contains("\"GET /half\""));
        assert!(line(combined, b"GET /old\r\n").contains("\"GET /old\""));
    }

    proptest! {
        #[test]
        fn any_head_makes_one_short_line_of_ascii(head in proptest::collection::vec(any::<u8>(), 0..200), times in 1..60usize) {
            let heads = [head.repeat(times), [b"GET /".to_vec(), head.repeat(times)].concat(),
                [b"GET / HTTP/1.1\r\nUser-Agent: ".to_vec(), head.repeat(times), b"\r\nReferer: ".to_vec(), head.repeat(times)].concat()];
            for head in heads {
                let (combined, json) = (line(combined, &head), line(json, &head));
                for text in [&combined, &json] {
                    prop_assert!(text.len() < 4096, "{} bytes", text.len());
                    let inner = text.strip_suffix('\n').expect("it is a line");
                    prop_assert!(inner.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", inner);
                }
                // The fields keep their places: between six quotes.
                prop_assert_eq!(combined.matches('"').count(), 6, "{}", combined);
                let object: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
                prop_assert_eq!(object.as_object().map(|object| object.len()), Some(11));
            }
        }

        #[test]
        fn no_authorization_is_ever_shown(before in "[ -~]{0,20}", secret in "[a-z]{12}") {
            let head = format!("GET / HTTP/1.1\r\nX: {before}\r\nAuthorization: Bearer {secret}\r\n\r\n");
            prop_assume!(!before.contains(&secret));
            prop_assert!(!line(combined, head.as_bytes()).contains(&secret));
            prop_assert!(!line(json, head.as_bytes()).contains(&secret));
        }
    }
}
