//! Whether what a check says to a peer changes something there. Only what is said in plain text can be told.

/// The requests of HTTP that change nothing: RFC 9110, 9.2.1.
const SAFE: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];
const CHANGING: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];

/// Statements of SQL that change something.
const STATEMENTS: [&str; 13] = [
    "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "TRUNCATE", "REPLACE", "MERGE", "GRANT", "REVOKE",
    "VACUUM", "COPY",
];

/// Commands of Redis and memcached that change something.
const COMMANDS: [&str; 24] = [
    "SET", "SETEX", "SETNX", "PSETEX", "MSET", "DEL", "UNLINK", "INCR", "DECR", "INCRBY", "APPEND", "EXPIRE", "LPUSH",
    "RPUSH", "LPOP", "RPOP", "SADD", "SREM", "ZADD", "HSET", "HDEL", "XADD", "FLUSHDB", "FLUSHALL",
];

/// Whether these bytes begin a request of HTTP.
pub(super) fn is_http(bytes: &[u8]) -> bool {
    let Some((method, line)) = request(bytes) else { return false };
    (SAFE.contains(&method) || CHANGING.contains(&method)) && line.ends_with("HTTP/1.1") | line.ends_with("HTTP/1.0")
}

fn request(bytes: &[u8]) -> Option<(&str, &str)> {
    let end = bytes.iter().position(|&byte| byte == b'\r' || byte == b'\n')?;
    let line = str::from_utf8(&bytes[..end]).ok()?;
    Some((line.split(' ').next()?, line))
}

/// What these bytes ask a peer to change, if they do.
pub(super) fn what_it_changes(bytes: &[u8]) -> Option<String> {
    if is_http(bytes) {
        let (method, _) = request(bytes)?;
        return CHANGING.contains(&method).then(|| format!("it sends an HTTP request with the method {method}"));
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).to_ascii_uppercase();
    // A query of PostgreSQL (Q and its length) or MySQL (length, number, 3) has binary bytes before the text.
    let statement = text.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let statement = match bytes.first() {
        Some(b'Q' | b'P') => statement[1..].trim_start_matches(|c: char| !c.is_ascii_alphabetic()),
        _ => statement,
    };
    let first = statement.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let has_more = statement[first.len()..].starts_with([' ', '\t', '\n']);
    if STATEMENTS.contains(&first) && has_more {
        return Some(format!("it sends a statement that begins with {first}"));
    }
    // The first string of an array: redis.io/docs/reference/protocol-spec. Or a command in one line.
    let command = match bytes.first() {
        Some(b'*') => text.split("\r\n").nth(2).unwrap_or_default().to_owned(),
        _ => text.split([' ', '\r', '\n']).next().unwrap_or_default().to_owned(),
    };
    let is_line = text.contains("\r\n") || text.ends_with('\n');
    if is_line && COMMANDS.contains(&command.as_str()) {
        return Some(format!("it sends the command {command}"));
    }
    if is_line && text.starts_with("DATA\r\n") {
        return Some("it sends mail".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_reads_changes_nothing() {
        for said in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"HEAD /x HTTP/1.0\r\n",
            b"PING\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n",
            b"Q\0\0\0\x0dSELECT 1\0",
            b"\x09\0\0\0\x03select 1",
            b"stats\r\n",
            b"QUIT\r\n",
            b"",
            b"\xff\xfe",
            b"P",
            b"Q",
        ] {
            assert_eq!(what_it_changes(said), None, "{}", String::from_utf8_lossy(said));
        }
    }

    #[test]
    fn what_changes_something_is_named() {
        for (said, named) in [
            (&b"POST /orders HTTP/1.1\r\n"[..], "POST"),
            (b"DELETE /x HTTP/1.1\r\n", "DELETE"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n1\r\n", "SET"),
            (b"set x 0 0 1\r\n1\r\n", "SET"),
            (b"Q\0\0\0\x1dinsert into t values (1)\0", "INSERT"),
            (b"\x19\0\0\0\x03UPDATE t SET x = 1", "UPDATE"),
            (b"DATA\r\n", "mail"),
        ] {
            let told = what_it_changes(said).unwrap_or_default();
            assert!(told.contains(named), "{}: {told}", String::from_utf8_lossy(said));
        }
    }
}
