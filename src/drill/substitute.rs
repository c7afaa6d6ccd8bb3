//! What stands in place of the files and folders that a check looks at: nothing, something else, less, more, or what the kernel
//! would tell if all were used up. Whoever looks at what is in them minds one of these.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;

use super::seen::{self, Trace};
use crate::model::sabotage::{Gone, Sabotage};
use crate::os::filesystem;

/// As much of a file is looked at, and stands in its place.
const MOST: usize = 256 * 1024;

/// A figure that is beyond all limits, and fits into an integer of any program.
const MANY: &str = "999999999";

/// As many words of a check are looked for in what it reads.
const MOST_WORDS: usize = 400;

/// What is bad news, in whatever a check looks for it.
const BAD_NEWS: [&str; 10] =
    ["ERROR", "CRITICAL", "FATAL", "critical", "degraded", "down", "error", "failed", "panic", "unhealthy"];

/// What stands in place of a file or a folder.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Substitute {
    File(Vec<u8>),
    /// Files of these names, in a folder.
    Folder(BTreeSet<String>),
}

/// What stands in place of what, under this sabotage.
pub(super) fn substitutes(sabotage: Sabotage, seen: &Trace) -> Vec<(PathBuf, Substitute)> {
    let Sabotage::Gone(how @ (Gone::Empty | Gone::Other | Gone::Less | Gone::More)) = sabotage else {
        return match sabotage {
            Sabotage::Full => {
                seen.gauges().map(|path| (path.clone(), Substitute::File(exhausted(path, &text(path))))).collect()
            }
            _ => Vec::new(),
        };
    };
    let words: Vec<_> = seen.words.iter().map(String::as_str).chain(BAD_NEWS).collect();
    let looked_at = if how == Gone::Empty { &seen.files } else { &seen.opened };
    let file = |path: &PathBuf| {
        let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
        is_file.then(|| (path.clone(), Substitute::File(changed(how, path, &words))))
    };
    let folder = |path: &PathBuf| match how {
        Gone::Empty => Some((path.clone(), Substitute::Folder(BTreeSet::new()))),
        Gone::More => Some((path.clone(), Substitute::Folder(names(&words)))),
        _ => None,
    };
    let is_plain = |path: &&PathBuf| !seen::is_of_the_kernel(path) && path.is_dir();
    looked_at.iter().filter_map(file).chain(seen.listed.iter().filter(is_plain).filter_map(folder)).collect()
}

/// Makes them in this folder, each by its number.
pub(super) fn make(room: &Path, substitutes: &[(PathBuf, Substitute)]) -> io::Result<()> {
    for (index, (_, substitute)) in substitutes.iter().enumerate() {
        let place = room.join(index.to_string());
        match substitute {
            Substitute::File(content) => fs::write(place, content)?,
            Substitute::Folder(names) => {
                fs::create_dir(&place)?;
                names.iter().try_for_each(|name| make_entry(&place.join(name)))?;
            }
        }
    }
    Ok(())
}

/// A file that is old, large and open to all. It takes no room.
fn make_entry(path: &Path) -> io::Result<()> {
    const LARGE: u64 = 1 << 40;
    let file = fs::File::create(path)?;
    file.set_len(LARGE)?;
    file.set_permissions(fs::Permissions::from_mode(0o6777))?;
    file.set_modified(std::time::UNIX_EPOCH)
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    // What cannot be read has nothing to say.
    let _ = filesystem::open_regular(path).and_then(|file| file.take(MOST as u64).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a text is, if it is JSON of more than a single value.
fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(|value: &Value| value.is_object() || value.is_array())
}

/// Whether there is JSON in a file.
pub(super) fn is_json(path: &Path) -> bool {
    !seen::is_of_the_kernel(path) && parsed(&text(path)).is_some()
}

fn changed(how: Gone, path: &Path, words: &[&str]) -> Vec<u8> {
    if how == Gone::Empty {
        return Vec::new();
    }
    let text = text(path);
    match parsed(&text) {
        Some(value) => changed_json(how, value).to_string().into_bytes(),
        None => changed_text(how, &text, words).into_bytes(),
    }
}

fn changed_text(how: Gone, text: &str, words: &[&str]) -> String {
    match how {
        Gone::Less => with_figures(text, "0"),
        Gone::More => {
            let more = with_figures(text, MANY);
            let bad_news = || words.iter().find(|word| BAD_NEWS.contains(word)).copied().unwrap_or_default();
            match text.contains(|c: char| c.is_alphabetic()) {
                false => more,
                // A single word says how something is.
                true if text.split_whitespace().count() == 1 => format!("{}\n", bad_news()),
                true => more.clone() + &rows(&more, words),
            }
        }
        // The root is a name, too.
        _ => {
            let other = text.chars().map(other).collect::<String>();
            other.split(' ').map(|field| if field == "/" { "/drill" } else { field }).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Another letter; everything else has its place in a form.
fn other(letter: char) -> char {
    let turned = |first: u8| char::from((letter as u8 - first + 13) % 26 + first);
    match letter {
        'a'..='z' => turned(b'a'),
        'A'..='Z' => turned(b'A'),
        _ => letter,
    }
}

/// The same text with this in place of all figures that are no parts of words.
fn with_figures(text: &str, figure: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out += if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) { figure } else { word };
        let next = after.find(|c: char| c.is_alphanumeric() || c == '_').unwrap_or(after.len());
        out += &after[..next];
        rest = &after[next..];
    }
    out
}

/// Rows that have each word by itself, and like the last of this text but for one word, in each place of it: so a table stays a
/// table. They are repeated, as who looks for a word may want few.
fn rows(text: &str, words: &[&str]) -> String {
    const ROOM: usize = MOST;
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    let fields: Vec<_> = last.split_whitespace().collect();
    let figures = |name: &str| [&[name][..], &vec![MANY; fields.len().saturating_sub(1)]].concat().join(" ");
    // Below a head there are such.
    let mut rows = format!("\n/{}\n", figures(BAD_NEWS[0]));
    for word in words {
        rows.extend([*word, "\n"]);
        for place in 0..fields.len().min(16) {
            let row: Vec<_> =
                fields.iter().enumerate().map(|(at, field)| if at == place { *word } else { *field }).collect();
            rows += &row.join(" ");
            rows.push('\n');
        }
    }
    rows.repeat((ROOM / rows.len()).clamp(1, 1000))
}

/// Of the same form, so that only who looks at what stands in it minds.
fn changed_json(how: Gone, value: Value) -> Value {
    const TIMES: usize = 1000;
    match (how, value) {
        (Gone::Less, Value::Array(_)) => Value::Array(Vec::new()),
        (Gone::Less, Value::String(_)) => Value::String(String::new()),
        (Gone::Less, Value::Number(_)) => Value::from(0),
        (Gone::More, Value::Number(_)) => Value::from(999_999_999),
        (Gone::More, Value::Array(list)) => {
            let times = TIMES.checked_div(list.len()).unwrap_or_default().max(1);
            let more = list.into_iter().map(|value| changed_json(how, value)).collect::<Vec<_>>();
            Value::Array(more.iter().cycle().take(more.len() * times).cloned().collect())
        }
        (_, Value::Array(list)) => list.into_iter().map(|value| changed_json(how, value)).collect(),
        (_, Value::Object(map)) => {
            let key = |key: String| if how == Gone::Other { key.chars().map(other).collect() } else { key };
            map.into_iter().map(|(name, value)| (key(name), changed_json(how, value))).collect()
        }
        (Gone::Other, Value::String(text)) => Value::String(text.chars().map(other).collect()),
        (Gone::Other, Value::Bool(is)) => Value::Bool(!is),
        (_, value) => value,
    }
}

/// Names in which each word is, at whatever end a pattern has it.
fn names(words: &[&str]) -> BTreeSet<String> {
    let words =
        words.iter().flat_map(|word| word.split('/')).filter(|word| !word.is_empty() && *word != "." && *word != "..");
    words
        .flat_map(|word| [word.to_owned(), format!("x{word}"), format!("{word}x")])
        .filter(|name| name.len() < 200)
        .collect()
}

/// The words of the code of a check: what it looks for is among them.
pub(super) fn words<'a>(code: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let is_part = |c: char| c.is_alphanumeric() || "._-/%@+".contains(c);
    let mut words = BTreeSet::new();
    for word in code.flat_map(|code| code.split(move |c| !is_part(c))) {
        if (2..=60).contains(&word.len()) && words.len() < MOST_WORDS {
            words.insert(word.to_owned());
        }
    }
    words
}

/// What the kernel tells in this file when as little as possible is left (proc(5)): no memory, a load of hundreds a core,
/// every task waits all the time, and a thousand users are there (utmp(5)).
fn exhausted(path: &Path, text: &str) -> Vec<u8> {
    const LOAD: usize = 500;
    let with_figures = |is_meant: &dyn Fn(&str) -> bool, figure: &str| {
        let changed = |word: &str| match word.split_once('=') {
            Some((name, _)) if is_meant(name) => format!("{name}={figure}"),
            Some(_) | None => word.to_owned(),
        };
        let line = |line: &str| line.split(' ').map(changed).collect::<Vec<_>>().join(" ") + "\n";
        text.lines().map(line).collect::<String>()
    };
    let told = match path.file_name().and_then(OsStr::to_str).unwrap_or_default() {
        "loadavg" => {
            let load = LOAD * std::thread::available_parallelism().map_or(1, usize::from);
            let rest: Vec<_> = text.split(' ').skip(3).collect();
            format!("{load}.00 {load}.00 {load}.00 {}", rest.join(" "))
        }
        "meminfo" => {
            let none = |line: &str| match line.split_once(':') {
                Some((name @ ("MemFree" | "MemAvailable" | "Buffers" | "Cached" | "SwapFree" | "SReclaimable"), _)) => {
                    format!("{name}:              0 kB\n")
                }
                Some(_) | None => format!("{line}\n"),
            };
            text.lines().map(none).collect()
        }
        "utmp" => return users(1000),
        _ => with_figures(&|name| name.starts_with("avg"), "100.00"),
    };
    told.into_bytes()
}

/// So many users who are logged in: struct utmp of bits/utmp.h.
fn users(count: usize) -> Vec<u8> {
    const SIZE: usize = 384;
    const USER_PROCESS: u8 = 7;
    let user = |number: usize| {
        let mut record = vec![0; SIZE];
        record[0] = USER_PROCESS;
        record[4] = 1;
        let mut put = |at: usize, text: &str| record[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(8, &format!("pts/{number}"));
        put(40, &format!("{number}"));
        put(44, "drill");
        record
    };
    (0..count).flat_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_keeps_its_form() {
        let table = "24 1 259:1 / /var rw - ext4 /dev/sda1 rw\n";
        assert_eq!(changed_text(Gone::Other, table, &[]), "24 1 259:1 /drill /ine ej - rkg4 /qri/fqn1 ej\n");
        assert_eq!(changed_text(Gone::Less, table, &[]), "0 0 0:0 / /var rw - ext4 /dev/sda1 rw\n");
        let more = changed_text(Gone::More, table, &["nfs"]);
        assert!(more.lines().any(|line| line.ends_with("/var rw - nfs /dev/sda1 rw")), "{more}");
        assert!(more.lines().any(|line| line == "nfs"));
        assert_eq!(changed_text(Gone::More, "0.12 3\n", &["nfs"]), "999999999.999999999 999999999\n");
    }

    #[test]
    fn json_stays_json() {
        let state = || serde_json::json!({"ok": true, "queue": [1, 2], "status": "up", "errors": 0});
        let changed = |how| changed_json(how, state()).to_string();
        assert_eq!(changed(Gone::Other), r#"{"bx":false,"dhrhr":[1,2],"fgnghf":"hc","reebef":0}"#);
        assert_eq!(changed(Gone::Less), r#"{"errors":0,"ok":true,"queue":[],"status":""}"#);
        let more = changed_json(Gone::More, state());
        assert!(more["queue"].as_array().is_some_and(|list| list.len() == 1000) && more["errors"] == 999_999_999);
    }

    #[test]
    fn what_a_check_looks_for_is_among_its_words() {
        let words = words(["! grep -qE 'ERROR|out of' \"$log\"", "find /spool -name '*.stuck'"].into_iter());
        for word in ["ERROR", "out", ".stuck", "/spool"] {
            assert!(words.contains(word), "{words:?}");
        }
        assert!(names(&[".stuck"]).contains("x.stuck") && names(&["/spool"]).contains("spool"));
    }
}
