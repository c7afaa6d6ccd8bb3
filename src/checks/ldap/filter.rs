//! A search filter: from the text of RFC 4515 to what a server is sent.

use crate::checks::support::ber::{OCTETS, SEQUENCE, element};

/// Filters lie in each other no deeper than this.
const DEEPEST: usize = 32;

/// What a filter is, in the choice of RFC 4511, 4.5.1.7.
const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUAL: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const AT_LEAST: u8 = 0xa5;
const AT_MOST: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const SIMILAR: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;

/// Encodes a filter; as for ldapsearch, the outer parentheses may be left out.
pub(super) fn encode(text: &str) -> Result<Vec<u8>, String> {
    let wrapped = if text.starts_with('(') { text.to_owned() } else { format!("({text})") };
    let mut rest = wrapped.as_str();
    let filter = one(&mut rest, 0)?;
    if rest.is_empty() { Ok(filter) } else { Err("there is more after its last parenthesis".to_owned()) }
}

/// Takes one filter, with its parentheses.
fn one(rest: &mut &str, depth: usize) -> Result<Vec<u8>, String> {
    if depth > DEEPEST {
        return Err(format!("it has more than {DEEPEST} filters in each other"));
    }
    let inner = rest.strip_prefix('(').ok_or("write it as in (&(objectClass=person)(uid=anna))")?;
    let filter = match inner.as_bytes().first() {
        Some(operator @ (b'&' | b'|' | b'!')) => {
            let mut parts = Vec::new();
            *rest = &inner[1..];
            let mut count = 0;
            while rest.starts_with('(') {
                parts.extend(one(rest, depth + 1)?);
                count += 1;
            }
            match operator {
                b'&' => element(AND, &parts),
                b'|' => element(OR, &parts),
                _ if count == 1 => element(NOT, &parts),
                _ => return Err("a ! is for one filter".to_owned()),
            }
        }
        _ => {
            let end = inner.find([')', '(']).unwrap_or(inner.len());
            let (text, after) = inner.split_at(end);
            *rest = after;
            item(text)?
        }
    };
    *rest =
        rest.strip_prefix(')').ok_or("a parenthesis is missing: within a value, write \\28 for ( and \\29 for )")?;
    Ok(filter)
}

/// Something about an attribute.
fn item(text: &str) -> Result<Vec<u8>, String> {
    let (name, value) = text.split_once('=').ok_or("a part of it has no =, as in (uid=anna)")?;
    let compared = |tag, name| Ok(element(tag, &[attribute(name)?, element(OCTETS, &unescaped(value)?)].concat()));
    match name.as_bytes().last() {
        Some(b'>') => compared(AT_LEAST, &name[..name.len() - 1]),
        Some(b'<') => compared(AT_MOST, &name[..name.len() - 1]),
        Some(b'~') => compared(SIMILAR, &name[..name.len() - 1]),
        Some(b':') => extensible(&name[..name.len() - 1], value),
        _ if value == "*" => {
            described(name)?;
            Ok(element(PRESENT, name.as_bytes()))
        }
        _ if value.contains('*') => substrings(name, value),
        _ => compared(EQUAL, name),
    }
}

fn substrings(name: &str, value: &str) -> Result<Vec<u8>, String> {
    let last = value.matches('*').count();
    let mut parts = Vec::new();
    for (at, part) in value.split('*').enumerate().filter(|(_, part)| !part.is_empty()) {
        // The beginning, the end, or in between.
        let tag = if at == 0 {
            0x80
        } else if at == last {
            0x82
        } else {
            0x81
        };
        parts.extend(element(tag, &unescaped(part)?));
    }
    if parts.is_empty() {
        return Err("write (uid=*) for an attribute that is there".to_owned());
    }
    Ok(element(SUBSTRINGS, &[attribute(name)?, element(SEQUENCE, &parts)].concat()))
}

/// `attribute:dn:rule:=value`, of which much may be left out.
fn extensible(name: &str, value: &str) -> Result<Vec<u8>, String> {
    let mut words = name.split(':');
    let (attribute, mut rule) = (words.next().unwrap_or_default(), words.next());
    let with_dn = rule.is_some_and(|word| word.eq_ignore_ascii_case("dn"));
    if with_dn {
        rule = words.next();
    }
    if words.next().is_some() || (attribute.is_empty() && rule.is_none()) {
        return Err("write a rule as in (memberOf:1.2.840.113556.1.4.1941:=cn=shop)".to_owned());
    }
    let mut parts = Vec::new();
    if let Some(rule) = rule {
        described(rule)?;
        parts.extend(element(0x81, rule.as_bytes()));
    }
    if !attribute.is_empty() {
        described(attribute)?;
        parts.extend(element(0x82, attribute.as_bytes()));
    }
    parts.extend(element(0x83, &unescaped(value)?));
    if with_dn {
        parts.extend(element(0x84, &[0xff]));
    }
    Ok(element(EXTENSIBLE, &parts))
}

fn attribute(name: &str) -> Result<Vec<u8>, String> {
    described(name)?;
    Ok(element(OCTETS, name.as_bytes()))
}

/// Refuses what is not the description of an attribute, or a rule.
fn described(name: &str) -> Result<(), String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-;_".contains(&byte);
    match !name.is_empty() && name.bytes().all(is_known) {
        true => Ok(()),
        false => Err("a name of an attribute in it has letters, digits and hyphens, and no spaces".to_owned()),
    }
}

/// A value, in which `\2a` is a byte.
fn unescaped(value: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut parts = value.split('\\');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let byte = part.get(..2).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.ok_or("after a \\ in it there have to be two hexadecimal digits: write \\5c for a \\")?);
        bytes.extend(part[2..].bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_are_encoded_as_rfc_4511_has_them() {
        for (text, encoded) in [
            ("(uid=a)", &b"\xa3\x08\x04\x03uid\x04\x01a"[..]),
            ("uid=a", b"\xa3\x08\x04\x03uid\x04\x01a"),
            ("(uid=)", b"\xa3\x07\x04\x03uid\x04\0"),
            ("(uid=*)", b"\x87\x03uid"),
            ("(uid>=a)", b"\xa5\x08\x04\x03uid\x04\x01a"),
            ("(uid<=a)", b"\xa6\x08\x04\x03uid\x04\x01a"),
            ("(uid~=a)", b"\xa8\x08\x04\x03uid\x04\x01a"),
            ("(uid=a\\2a\\29b)", b"\xa3\x0b\x04\x03uid\x04\x04a*)b"),
            ("(cn=a*b*c)", b"\xa4\x0f\x04\x02cn\x30\x09\x80\x01a\x81\x01b\x82\x01c"),
            ("(cn=*b*)", b"\xa4\x09\x04\x02cn\x30\x03\x81\x01b"),
            ("(&)", b"\xa0\0"),
            ("(!(uid=*))", b"\xa2\x05\x87\x03uid"),
            ("(&(uid=*)(|(cn=*)(sn=*)))", b"\xa0\x0f\x87\x03uid\xa1\x08\x87\x02cn\x87\x02sn"),
            ("(cn:=a)", b"\xa9\x07\x82\x02cn\x83\x01a"),
            ("(cn:dn:1.2:=a)", b"\xa9\x0f\x81\x031.2\x82\x02cn\x83\x01a\x84\x01\xff"),
            ("(:1.2:=a)", b"\xa9\x08\x81\x031.2\x83\x01a"),
        ] {
            assert_eq!(encode(text).as_deref(), Ok(encoded), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        let deep = format!("{}(a=b){}", "(!".repeat(40), ")".repeat(40));
        for (text, why) in [
            ("", "has no ="),
            ("()", "has no ="),
            ("(uid)", "has no ="),
            ("(uid=a", "a parenthesis is missing"),
            ("(&(uid=a)", "a parenthesis is missing"),
            ("(uid=a(b))", "a parenthesis is missing"),
            ("(uid=a))", "there is more"),
            ("(uid=a)(cn=b)", "there is more"),
            ("(=a)", "a name of an attribute"),
            ("(u id=a)", "a name of an attribute"),
            ("(uid=a\\g)", "two hexadecimal digits"),
            ("(uid=a\\)", "two hexadecimal digits"),
            ("(uid=\\+1)", "two hexadecimal digits"),
            ("(uid=**)", "for an attribute that is there"),
            ("(!(a=b)(c=d))", "a ! is for one filter"),
            ("(!)", "a ! is for one filter"),
            ("(:=a)", "write a rule"),
            ("(a:b:c:=a)", "write a rule"),
            (&deep, "in each other"),
        ] {
            assert!(encode(text).is_err_and(|error| error.contains(why)), "{text}: {:?}", encode(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[()&|!=*:\\\\a-f0-9~<>é]{0,40}") {
            let _ = encode(&text);
        }
    }
}
