//! A small JSON reader (RFC 8259), and the config of a plugin.

use crate::error::{decimal, join};
use crate::{Error, Result};

/// How deep values may nest.
const MAX_DEPTH: u32 = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number as it stands there.
    Number(String),
    String(String),
    Array(Vec<Json>),
    /// Members in their order; names are unique.
    Object(Vec<(String, Json)>),
}

/// Where a text is not JSON: the place, in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError(pub usize);

impl From<JsonError> for Error {
    fn from(e: JsonError) -> Error {
        Error::Failed(join(&["not JSON at byte ", &decimal(e.0)]))
    }
}

impl Json {
    /// Reads exactly one value.
    pub fn parse(text: &str) -> Result<Json, JsonError> {
        let mut p = Parser { text, at: 0 };
        let v = p.value(0)?;
        p.space();
        if p.at < text.len() {
            return p.fail();
        }
        Ok(v)
    }

    /// The member of an object; None also if this is none.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|m| m.0 == name).map(|m| &m.1),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// A whole number.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Json::Number(n) => n.parse().ok(),
            _ => None,
        }
    }

    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Json::Number(n) => n.parse().ok(),
            _ => None,
        }
    }

    /// A number. Reading one brings 15 KB of code along.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Json::Number(n) => n.parse().ok(),
            _ => None,
        }
    }

    /// The elements of an array; none if this is none.
    pub fn items(&self) -> &[Json] {
        match self {
            Json::Array(items) => items,
            _ => &[],
        }
    }

    /// The members of an object; none if this is none.
    pub fn members(&self) -> &[(String, Json)] {
        match self {
            Json::Object(members) => members,
            _ => &[],
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    #[cold]
    fn fail<T>(&self) -> Result<T, JsonError> {
        Err(JsonError(self.at))
    }

    fn next(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The text from start up to here. Both are between characters; slicing would bring code along that says so.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    fn space(&mut self) {
        while matches!(self.next(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Passes over space and c.
    fn take(&mut self, c: u8) -> bool {
        self.space();
        let found = self.next() == c;
        self.at += found as usize;
        found
    }

    fn value(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.space();
        if depth > MAX_DEPTH {
            return self.fail();
        }
        match self.next() {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => Ok(Json::String(self.string()?)),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, v: Json) -> Result<Json, JsonError> {
        if !self.text.as_bytes().get(self.at..).map_or(false, |rest| rest.starts_with(word.as_bytes())) {
            return self.fail();
        }
        self.at += word.len();
        Ok(v)
    }

    fn array(&mut self, depth: u32) -> Result<Json, JsonError> {
        let mut items = Vec::new();
        self.at += 1;
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return self.fail();
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<Json, JsonError> {
        let mut members: Vec<(String, Json)> = Vec::new();
        self.at += 1;
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            if members.iter().any(|m| m.0 == name) || !self.take(b':') {
                return self.fail();
            }
            let v = self.value(depth + 1)?;
            members.push((name, v));
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return self.fail();
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.next().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        if self.next() == b'-' {
            self.at += 1;
        }
        let leading_zero = self.next() == b'0';
        let whole = self.digits();
        let mut ok = whole == 1 || whole > 1 && !leading_zero;
        if self.next() == b'.' {
            self.at += 1;
            ok &= self.digits() > 0;
        }
        if matches!(self.next(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.next(), b'+' | b'-') {
                self.at += 1;
            }
            ok &= self.digits() > 0;
        }
        if !ok {
            return self.fail();
        }
        Ok(Json::Number(self.since(start).to_string()))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        if self.next() != b'"' {
            return self.fail();
        }
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.next(), b'"' | b'\\' | 0..=0x1F) {
                self.at += 1;
            }
            out.push_str(self.since(start));
            match self.next() {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    self.at += 1;
                    let c = self.escape()?;
                    out.push(c);
                }
                _ => return self.fail(),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let c = match self.next() {
            c @ (b'"' | b'\\' | b'/') => c as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return self.fail(),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let mut code = self.hex()?;
        if (0xD800..0xDC00).contains(&code) {
            // The first half of a pair.
            if self.next() != b'\\' {
                return self.fail();
            }
            self.at += 1;
            let low = self.hex()?;
            if !(0xDC00..0xE000).contains(&low) {
                return self.fail();
            }
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        char::from_u32(code).ok_or(JsonError(self.at))
    }

    /// Reads "u" and four digits.
    fn hex(&mut self) -> Result<u32, JsonError> {
        if self.next() != b'u' {
            return self.fail();
        }
        let mut code = 0;
        for _ in 0..4 {
            self.at += 1;
            match (self.next() as char).to_digit(16) {
                Some(d) => code = code << 4 | d,
                None => return self.fail(),
            }
        }
        self.at += 1;
        Ok(code)
    }
}

/// A value of the config, which knows where it stands: what is wrong with it is told to the operator with its
/// JSON Pointer. The host has held the config against `Manifest::config_schema` before.
#[derive(Clone, Copy)]
pub struct Config<'a> {
    root: &'a Json,
    /// The value; of one that is absent, the object that should have it.
    at: &'a Json,
    /// The name of what is absent.
    absent: Option<&'a str>,
}

impl<'a> Config<'a> {
    pub(crate) fn new(root: &'a Json) -> Config<'a> {
        Config { root, at: root, absent: None }
    }

    fn of(self, at: &'a Json) -> Config<'a> {
        Config { at, ..self }
    }

    /// The value itself; `Json::Null` if it is absent.
    pub fn json(self) -> &'a Json {
        match self.absent {
            Some(_) => &Json::Null,
            None => self.at,
        }
    }

    /// Whether the value is absent, or null.
    pub fn is_absent(self) -> bool {
        matches!(self.json(), Json::Null)
    }

    /// The member of an object, absent if there is none.
    pub fn get(self, name: &'a str) -> Config<'a> {
        match self.json().get(name) {
            Some(v) => self.of(v),
            None => Config { absent: self.absent.or(Some(name)), ..self },
        }
    }

    /// The elements of an array; none if it is absent.
    pub fn items(self) -> Result<impl Iterator<Item = Config<'a>>> {
        match self.json() {
            Json::Null | Json::Array(_) => Ok(self.json().items().iter().map(move |v| self.of(v))),
            _ => Err(self.problem("must be a list")),
        }
    }

    /// The members of an object; none if it is absent.
    pub fn members(self) -> Result<impl Iterator<Item = (&'a str, Config<'a>)>> {
        match self.json() {
            Json::Null | Json::Object(_) => Ok(self.json().members().iter().map(move |m| (m.0.as_str(), self.of(&m.1)))),
            _ => Err(self.problem("must be an object")),
        }
    }

    pub fn str(self) -> Result<&'a str> {
        self.json().as_str().ok_or_else(|| self.problem("must be a string"))
    }

    pub fn bool(self) -> Result<bool> {
        self.json().as_bool().ok_or_else(|| self.problem("must be true or false"))
    }

    pub fn u64(self) -> Result<u64> {
        self.json().as_u64().ok_or_else(|| self.problem("must be a whole number from 0"))
    }

    pub fn i64(self) -> Result<i64> {
        self.json().as_i64().ok_or_else(|| self.problem("must be a whole number"))
    }

    pub fn f64(self) -> Result<f64> {
        self.json().as_f64().ok_or_else(|| self.problem("must be a number"))
    }

    pub fn str_or(self, fallback: &'a str) -> Result<&'a str> {
        if self.is_absent() {
            return Ok(fallback);
        }
        self.str()
    }

    pub fn bool_or(self, fallback: bool) -> Result<bool> {
        if self.is_absent() {
            return Ok(fallback);
        }
        self.bool()
    }

    pub fn u64_or(self, fallback: u64) -> Result<u64> {
        if self.is_absent() {
            return Ok(fallback);
        }
        self.u64()
    }

    /// The error that refuses the config because of this value; the message says what would be right.
    #[inline(never)]
    pub fn problem(self, message: &str) -> Error {
        let mut pointer = Vec::new();
        path(self.root, self.at, &mut pointer);
        if let Some(name) = self.absent {
            step(&mut pointer, name);
        }
        Error::problem(&String::from_utf8(pointer).unwrap_or_default(), message)
    }
}

/// Appends the way from one value to another that is in it. Nobody asks for it but where a config is refused, so it is
/// looked for then.
fn path(from: &Json, to: &Json, pointer: &mut Vec<u8>) -> bool {
    if std::ptr::eq(from, to) {
        return true;
    }
    let begin = pointer.len();
    let mut enter = |name: &str, v: &Json| {
        pointer.truncate(begin);
        step(pointer, name);
        path(v, to, pointer)
    };
    from.items().iter().enumerate().any(|(i, v)| enter(&decimal(i), v)) || from.members().iter().any(|m| enter(&m.0, &m.1))
}

/// Appends a step of a JSON Pointer (RFC 6901).
fn step(pointer: &mut Vec<u8>, name: &str) {
    pointer.push(b'/');
    for b in name.bytes() {
        match b {
            b'~' => pointer.extend_from_slice(b"~0"),
            b'/' => pointer.extend_from_slice(b"~1"),
            _ => pointer.push(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_names_its_problems() {
        let json = Json::parse(r#"{"a/b": {"list": [1, "x"]}, "n": 7, "s": "t", "null": null}"#).unwrap();
        let config = Config::new(&json);
        let list: Vec<_> = config.get("a/b").get("list").items().unwrap().collect();
        assert_eq!(list[0].u64().unwrap(), 1);
        for (wrong, want) in [(list[1], "/a~1b/list/1"), (config, ""), (config.get("x~").get("y"), "/x~0"), (config.get("null"), "/null")] {
            match wrong.u64() {
                Err(Error::Problems(p)) => assert_eq!((&*p[0].pointer, &*p[0].message), (want, "must be a whole number from 0")),
                other => panic!("{:?}", other),
            }
        }
        assert_eq!(config.get("s").str().unwrap(), "t");
        assert_eq!(config.get("missing").str_or("x").unwrap(), "x");
        assert_eq!(config.get("null").u64_or(3).unwrap(), 3);
        assert!(config.get("n").str_or("x").is_err());
        assert_eq!(config.members().unwrap().count(), 4);
        assert_eq!(config.get("n").i64().unwrap(), 7);
        assert!(config.get("n").bool().is_err() && config.items().is_err());
    }

    #[test]
    fn numbers() {
        for (text, want) in [("0", Some(0)), ("-12", Some(-12)), ("1.5", None), ("9223372036854775808", None)] {
            assert_eq!(Json::parse(text).unwrap().as_i64(), want);
        }
        assert_eq!(Json::parse("2.5e1").unwrap().as_f64(), Some(25.0));
    }
}
