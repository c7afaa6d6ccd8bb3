//! A name of a check, or a TOML file of checks, with a secret in it.

use hospital::collect::{collect, in_file, without_secrets};

/// What stands for the secret in what is tried.
const MARK: char = '$';

/// The secret: nothing that may be quoted of what cannot be understood has a `!`.
const SECRET: &str = "hunter2!";

/// By which it is recognised, also where it is cut off or encoded.
const TRACE: &str = "hunter2";

/// What is said of checks that cannot be in one suite, though each of them is understood.
const UNDERSTOOD: [&str; 3] = ["two checks have the id", "but no check is collected there", "needs itself"];

/// Collects what is named, and looks for the secret in all that is said of it. The first byte chooses between a name and a
/// file.
///
/// # Panics
///
/// When something does not hold, which the fuzzer is looking for.
pub fn tell(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.contains(TRACE) {
        return;
    }
    let is_name = choice.is_multiple_of(2);
    let given = text.replace(MARK, SECRET);
    let collected = if is_name { collect(&[&given], "the fuzzer") } else { in_file(&given) };
    let is_hidden = hides_all(text, is_name);
    match &collected {
        // These have been understood, and are told apart by what may be shown.
        Err(error) if UNDERSTOOD.iter().any(|words| error.to_string().contains(words)) => return,
        Err(error) => tells_nothing(&error.to_string()),
        Ok(suite) => {
            for check in suite.checks() {
                let options = check.options.iter().map(|(_, value)| value);
                for shown in [&check.id, &check.title, &check.origin].into_iter().chain(&check.tags).chain(options) {
                    assert!(!shown.contains(char::is_control), "{shown:?} would be obeyed by a terminal");
                    assert!(!shown.contains(['\u{202e}', '\u{2066}']), "{shown:?} would reorder a line");
                    if is_hidden {
                        tells_nothing(shown);
                    }
                }
            }
        }
    }
    if is_name && (collected.is_err() || is_hidden) {
        tells_nothing(&without_secrets(&given));
    }
}

fn tells_nothing(text: &str) {
    assert!(!text.contains(TRACE), "{text:?} shows the secret");
}

/// Whether each secret stands where a check that can be understood has secrets, by rules that are simpler than the real ones.
fn hides_all(text: &str, is_name: bool) -> bool {
    let is_plain = !text.contains("'''") && !text.contains("\"\"\"") && !text.contains(['%', '\\']);
    is_plain && text.match_indices(MARK).all(|(at, _)| hides(&text[..at], &text[at + MARK.len_utf8()..], is_name))
}

fn hides(before: &str, after: &str, is_name: bool) -> bool {
    let before = if is_name {
        before
    } else {
        let line = before.rsplit('\n').next().unwrap_or_default();
        match line.split_once(['\'', '"']) {
            Some(("use = ", name)) => name,
            Some(("header = ", "X-Key: ")) => return after.starts_with(['\'', '"']),
            Some(_) | None => return false,
        }
    };
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let in_login = || {
        let (scheme, user) = before.split_once("://")?;
        Some(is_word(scheme) && is_word(user.strip_suffix(':')?) && is_word(after.strip_prefix('@')?.get(..1)?))
    };
    let ends = after.is_empty() || after.starts_with(['&', '#', '\'', '"']);
    let in_query = ["?password=", "&access_token="].iter().any(|key| before.ends_with(key)) && !before.contains('#');
    let in_header = before.starts_with("http://") && before.ends_with("#header=X-Key:");
    in_login().unwrap_or(false) || ends && (in_query || in_header)
}
