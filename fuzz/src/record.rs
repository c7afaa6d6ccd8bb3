//! The file of what is remembered of a check.

use std::time::{Duration, SystemTime};

use hospital::model::record_file::{decode, encode, seal};
use hospital::model::why::Why;
use hospital::render::html::{Evidence, evidence};

/// Reads it, with the hash that it has or with the right one, as the first byte says, and shows what it tells.
///
/// # Panics
///
/// When something does not hold, which the fuzzer is looking for.
pub fn read(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let read = match std::str::from_utf8(bytes) {
        Ok(line) if choice.is_multiple_of(2) => decode(&seal(line), None),
        Ok(_) | Err(_) => decode(bytes, None),
    };
    let Ok((id, record)) = read else { return };
    // Times are written down to the millisecond.
    let written = decode(&encode(&id, &record), Some(&id)).expect("we have just written it");
    let again = decode(&encode(&id, &written.1), Some(&id));
    assert_eq!(again.as_ref(), Ok(&written), "what was read is not what was written of it");
    let (id, record) = written;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let why = Why::of((&id, &id), record.clone(), &[(id.clone(), record.clone())], Vec::new(), now);
    evidence(&Evidence { why: &why, record: &record, prefix: "" }, &mut Vec::new());
}
