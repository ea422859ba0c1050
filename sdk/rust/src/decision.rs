//! What a plugin answers.

use crate::error::cut;
use crate::v1::{Action, Permission, Verdict};
use crate::{Identity, Text};

/// A plugin's verdict on an event. The default is to continue: the next plugin is asked, with the changes made
/// to the request. Which ones a point has is said at `Point`; another one makes the host take the whole
/// answer for a failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    pub(crate) action: Action,
    pub(crate) code: u8,
    pub(crate) reason: Text<'static>,
    pub(crate) ttl_ms: u32,
}

impl Decision {
    /// Leaves it to the next plugin.
    pub const CONTINUE: Decision = Decision::of(Action::CONTINUE);
    /// Says yes; no further plugin is asked. Changes made to the request count.
    pub const ALLOW: Decision = Decision::of(Action::ALLOW);
    /// Puts the decision off: `Host::complete` gives it in a later call, as in `TimerHandler::timer`, within the
    /// deadline of the hook. Changes made to the request are lost.
    pub const DEFER: Decision = Decision::of(Action::DEFER);

    const fn of(action: Action) -> Decision {
        Decision { action, code: 0, reason: Text::EMPTY, ttl_ms: 0 }
    }

    /// Refuses with a Reason Code from 0x80, 0 for `NOT_AUTHORIZED`, and a reason in words, which may be empty.
    pub fn deny(code: u8, reason: impl Into<Text<'static>>) -> Decision {
        Decision { code, reason: reason.into(), ..Decision::of(Action::DENY) }
    }

    /// Acknowledges a message and goes no further with it.
    pub fn drop(reason: impl Into<Text<'static>>) -> Decision {
        Decision { reason: reason.into(), ..Decision::of(Action::DROP) }
    }

    /// Closes the client's connection; 0 stands for `ADMINISTRATIVE_ACTION`.
    pub fn disconnect(code: u8, reason: impl Into<Text<'static>>) -> Decision {
        Decision { code, reason: reason.into(), ..Decision::of(Action::DISCONNECT) }
    }

    /// Lets the host give the same answer to the same question for a time without asking (`Authorizer`).
    pub fn cached(self, ttl_ms: u32) -> Decision {
        Decision { ttl_ms, ..self }
    }
}

impl From<Decision> for Verdict<'static> {
    fn from(d: Decision) -> Verdict<'static> {
        let whole = cut(&d.reason).len() == d.reason.len();
        let reason = if whole { d.reason } else { cut(&d.reason).to_string().into() };
        Verdict { action: d.action, reason_code: d.code as u32, reason, cache_ttl_ms: d.ttl_ms, ..Verdict::default() }
    }
}

/// The verdict of an `Authenticator`, or of a `Permitter`. The default is to continue: the next plugin is asked, and
/// if none lets the client in it is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthResult {
    pub decision: Decision,
    /// With ALLOW and CHALLENGE; of DENY only its data counts.
    pub identity: Option<Identity>,
}

impl AuthResult {
    /// Leaves it to the next plugin.
    pub const CONTINUE: AuthResult = AuthResult { decision: Decision::CONTINUE, identity: None };
    /// Puts the decision off; see `Decision::DEFER`.
    pub const DEFER: AuthResult = AuthResult { decision: Decision::DEFER, identity: None };

    /// Lets the client in, as identity says. With `has_permissions` the broker evaluates `permissions` by itself,
    /// which is what scales.
    pub fn accept(identity: Identity) -> AuthResult {
        AuthResult { decision: Decision::ALLOW, identity: Some(identity) }
    }

    /// Gives the client these permissions and no others: the first that applies decides. For `Permitter`.
    pub fn permit(permissions: Vec<Permission<'static>>) -> AuthResult {
        AuthResult::accept(Identity { has_permissions: true, permissions, ..Identity::default() })
    }

    /// Keeps the client out; 0 stands for `NOT_AUTHORIZED`.
    pub fn refuse(code: u8, reason: impl Into<Text<'static>>) -> AuthResult {
        AuthResult { decision: Decision::deny(code, reason), identity: None }
    }

    /// Sends data in an AUTH. The client's answer comes to this plugin alone, with state, up to 64 KiB, in
    /// `AuthRequest::authentication`.
    pub fn challenge(data: Vec<u8>, state: Vec<u8>) -> AuthResult {
        let identity = Identity { data: data.into(), state: state.into(), ..Identity::default() };
        AuthResult { decision: Decision::of(Action::CHALLENGE), identity: Some(identity) }
    }
}

impl From<AuthResult> for Verdict<'static> {
    fn from(r: AuthResult) -> Verdict<'static> {
        let mut v = Verdict::from(r.decision);
        if matches!(v.action, Action::ALLOW | Action::CHALLENGE | Action::DENY) {
            v.auth = r.identity.map(Box::new);
        }
        v
    }
}
