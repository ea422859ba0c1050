//! What goes wrong, and what is refused.

use crate::v1::{HostError, HostErrorCode, Problem};
use crate::Text;

/// The result of a plugin's method.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a method does not return what it should. `?` makes one of a `HostError`, a `&str` or a `String`.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The plugin has failed: the failure policy of the hook answers.
    Failed(String),
    /// A refusal with a Reason Code: with it a hook says `Decision::deny`.
    Refused(u8, Text<'static>),
    /// The config cannot be: `start` and `configure` refuse it, and the operator sees why.
    Problems(Vec<Problem<'static>>),
    /// A changed config needs a new instance (`configure`).
    Restart,
    /// The plugin works, but badly (`health`).
    Degraded(String),
    /// A call of the host has failed.
    Host(HostError<'static>),
}

impl Error {
    /// A problem with a value of the config, which a JSON Pointer ("/brokers/0") names; empty if the config is not
    /// to blame. `Config::problem` knows the pointer itself.
    pub fn problem(pointer: &str, message: &str) -> Error {
        let problem = Problem { pointer: pointer.to_string().into(), message: cut(message).to_string().into() };
        Error::Problems(vec![problem])
    }

    /// A refusal; 0 stands for `ReasonCode::NOT_AUTHORIZED`.
    pub fn refused(code: u8, reason: impl Into<Text<'static>>) -> Error {
        Error::Refused(code, reason.into())
    }

    /// What is wrong, in words.
    pub fn text(&self) -> String {
        match self {
            Error::Failed(s) | Error::Degraded(s) => s.clone(),
            Error::Refused(_, reason) if reason.is_empty() => "refused".to_string(),
            Error::Refused(_, reason) => reason.to_string(),
            Error::Problems(list) => {
                let mut text = String::from("problems with the config:");
                for p in list {
                    for part in [" ", &*p.pointer, " ", &*p.message] {
                        text.push_str(part);
                    }
                }
                text
            }
            Error::Restart => "a restart is needed".to_string(),
            Error::Host(e) if e.grant.is_empty() => e.message.to_string(),
            Error::Host(e) => join(&[&*e.message, " (grant ", &*e.grant, ")"]),
        }
    }
}

impl From<HostError<'static>> for Error {
    fn from(e: HostError<'static>) -> Error {
        Error::Host(e)
    }
}

impl From<&str> for Error {
    fn from(s: &str) -> Error {
        Error::Failed(s.to_string())
    }
}

impl From<String> for Error {
    fn from(s: String) -> Error {
        Error::Failed(s)
    }
}

impl HostError<'static> {
    pub(crate) fn new(code: HostErrorCode, message: &'static str) -> Self {
        HostError { code, message: message.into(), grant: "".into() }
    }
}

/// The first 1,024 bytes of a text, which is what reasons and errors may have, cut between two characters.
pub(crate) fn cut(s: &str) -> &str {
    let mut end = s.len().min(1024);
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    s.get(..end).unwrap_or("")
}

/// Texts one after the other. That of the library brings 3 KB along.
pub(crate) fn join(parts: &[&str]) -> String {
    let mut all = String::new();
    for part in parts {
        all.push_str(part);
    }
    all
}

/// A number in decimal. Formatting it with the library would bring 2 KB along.
pub(crate) fn decimal(mut n: usize) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b'0' + (n % 10) as u8);
        n /= 10;
        if n == 0 {
            digits.reverse();
            return String::from_utf8(digits).unwrap_or_default();
        }
    }
}

/// Reason Codes of MQTT 5.0 (§2.4) that plugins give.
pub struct ReasonCode;

impl ReasonCode {
    pub const UNSPECIFIED_ERROR: u8 = 0x80;
    pub const IMPLEMENTATION_ERROR: u8 = 0x83;
    pub const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
    pub const NOT_AUTHORIZED: u8 = 0x87;
    pub const SERVER_UNAVAILABLE: u8 = 0x88;
    pub const SERVER_BUSY: u8 = 0x89;
    pub const BANNED: u8 = 0x8A;
    pub const BAD_AUTH_METHOD: u8 = 0x8C;
    pub const TOPIC_FILTER_INVALID: u8 = 0x8F;
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    pub const PACKET_TOO_LARGE: u8 = 0x95;
    pub const MESSAGE_RATE_TOO_HIGH: u8 = 0x96;
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    pub const ADMINISTRATIVE_ACTION: u8 = 0x98;
    pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
}
