//! Tokens: JSON Web Tokens (RFC 7519) that are signed with HMAC-SHA-256, and nothing else.

use crate::sha256;
use patchbay::Json;

/// What a token says, once its signature is found to be right.
#[derive(Debug, Default, PartialEq)]
pub struct Claims {
    /// Seconds since 1970 from which and until which it is valid.
    pub not_before: i64,
    pub expires: i64,
    pub username: Option<String>,
    pub client_id: Option<String>,
    pub namespace: String,
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

/// Reads a token that one of the keys has signed.
pub fn read(token: &[u8], keys: &[String]) -> Result<Claims, &'static str> {
    const MALFORMED: &str = "the token is not a JWT";
    let token = std::str::from_utf8(token).map_err(|_| MALFORMED)?;
    let (signed, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
    let (header, payload) = signed.split_once('.').ok_or(MALFORMED)?;
    let signature = base64url(signature).ok_or(MALFORMED)?;
    // The signature comes first: what is not signed is not looked into.
    let mut signed_by_us = false;
    for key in keys {
        signed_by_us |= sha256::same(&sha256::hmac(key.as_bytes(), signed.as_bytes()), &signature);
    }
    if !signed_by_us {
        return Err("the token's signature is wrong");
    }
    let header = json(header).ok_or(MALFORMED)?;
    if header.get("alg").and_then(Json::as_str) != Some("HS256") || header.get("crit").is_some() {
        return Err("the token's header asks for more than HS256");
    }
    claims(&json(payload).ok_or(MALFORMED)?)
}

fn json(part: &str) -> Option<Json> {
    Json::parse(&String::from_utf8(base64url(part)?).ok()?).ok()
}

fn claims(payload: &Json) -> Result<Claims, &'static str> {
    const WRONG_TYPE: &str = "a claim of the token has the wrong type";
    let text = |name: &str| match payload.get(name) {
        None => Ok(None),
        Some(v) => v.as_str().map(|s| Some(s.to_string())).ok_or(WRONG_TYPE),
    };
    let time = |name: &str| match payload.get(name) {
        None => Ok(None),
        Some(v) => v.as_i64().map(Some).ok_or(WRONG_TYPE),
    };
    let filters = |name: &str| match payload.get(name) {
        None => Ok(Vec::new()),
        Some(Json::Array(items)) => {
            items.iter().map(|f| f.as_str().map(str::to_string).ok_or(WRONG_TYPE)).collect::<Result<Vec<_>, _>>()
        }
        Some(_) => Err(WRONG_TYPE),
    };
    Ok(Claims {
        not_before: time("nbf")?.unwrap_or(0),
        expires: time("exp")?.ok_or("the token does not say when it expires")?,
        username: text("sub")?,
        client_id: text("client_id")?,
        namespace: text("namespace")?.unwrap_or_default(),
        publish: filters("publish")?,
        subscribe: filters("subscribe")?,
    })
}

/// Decodes base64url without padding (RFC 7515, appendix C).
fn base64url(s: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(s.len() * 3 / 4);
    let (mut bits, mut n) = (0u32, 0);
    for c in s.bytes() {
        let v = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | v as u32;
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push((bits >> n) as u8);
        }
    }
    // What is left over must be nothing: or one token could be written in two ways.
    if n == 6 || bits & ((1 << n) - 1) != 0 {
        return None;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        for (text, want) in [
            ("", Some(&b""[..])), ("Zg", Some(b"f")), ("Zm8", Some(b"fo")), ("Zm9v", Some(b"foo")), ("-_8", Some(b"\xfb\xff")),
            ("Z", None), ("Zh", None), ("Zm9", None), ("Zg==", None), ("+/8", None), ("Zm 9v", None),
        ] {
            assert_eq!(base64url(text).as_deref(), want, "{}", text);
        }
    }
}
