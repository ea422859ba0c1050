//! What a plugin may ask of the broker.

use crate::abi;
use crate::v1::*;
use crate::wire::{Bytes, Proto};
use crate::Fetch;
use std::cell::RefCell;

/// Room for a response at the first try; most have a few bytes.
const FIRST_RESPONSE: usize = 1024;

/// What a plugin may ask of the broker. All methods get it.
///
/// Each call that needs a grant says so; without it the error's `code` is `HostErrorCode::DENIED` and its `grant` the
/// name. Calls that "wait" work in the worker instance only (see `worker`). What a response points to is valid until
/// the call of the plugin ends: copy what is to be kept.
pub struct Host {
    /// Lent for good: it is set once.
    pub(crate) start: &'static StartRequest<'static>,
    /// What responses point into. It is only added to while `&self` is lent.
    responses: RefCell<Vec<Box<[u8]>>>,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host { start: Box::leak(Box::default()), responses: RefCell::default() }
    }

    /// Forgets the responses: `&mut self` shows that nobody uses them.
    pub(crate) fn end_call(&mut self) {
        self.responses.get_mut().clear();
    }

    pub(crate) fn call<'a, 'q, Q: Proto<'q>, P: Proto<'a>>(
        &'a self, op: HostOp, request: &Q,
    ) -> Result<P, HostError<'static>> {
        let request = request.encode();
        let mut out = vec![0; FIRST_RESPONSE];
        let mut n = abi::host_call(op, request.bytes_written(), &mut out);
        if n > FIRST_RESPONSE as i32 {
            // It did not fit, and is kept for us.
            out = vec![0; n as usize];
            n = abi::host_call(HostOp::LAST_RESPONSE, &[], &mut out);
        }
        if n < 0 {
            return Err(last_error(n));
        }
        out.truncate(n as usize);
        let kept = out.into_boxed_slice();
        // The memory stays where it is, and stays until end_call, which nobody can call as long as 'a lasts.
        let response: &'a [u8] = unsafe { std::slice::from_raw_parts(kept.as_ptr(), kept.len()) };
        self.responses.borrow_mut().push(kept);
        P::decode(response).map_err(|e| HostError::new(HostErrorCode::INTERNAL, e.text()))
    }

    /// The contract's own calls, for what the methods below do not wrap.
    pub fn service(&self) -> Service<'_> {
        Service(self)
    }

    /// The name under which the operator has configured the plugin.
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// The broker.
    pub fn info(&self) -> Option<&HostInfo<'static>> {
        self.start.host.as_deref()
    }

    /// Whether this is the instance that gets everything but decisions and gates, and that may make calls that wait.
    pub fn worker(&self) -> bool {
        self.start.worker
    }

    /// Namespaces that the operator gives the plugin; none stands for all.
    pub fn namespaces(&self) -> &[Text<'static>] {
        &self.start.namespaces
    }

    /// The grant of a name, if the operator has given it.
    pub fn granted(&self, name: &str) -> Option<&Grant<'static>> {
        self.start.grants.iter().find(|g| g.name == name)
    }

    /// Milliseconds since 1970-01-01 UTC, by a coarse clock.
    pub fn now_ms(&self) -> i64 {
        abi::now()
    }

    /// A line of the broker's log, up to 4 KiB.
    pub fn log(&self, level: LogLevel, text: &str) {
        abi::log(level, text);
    }

    pub fn debug(&self, text: &str) {
        abi::log(LogLevel::DEBUG, text);
    }

    pub fn info_log(&self, text: &str) {
        abi::log(LogLevel::INFO, text);
    }

    pub fn warn(&self, text: &str) {
        abi::log(LogLevel::WARN, text);
    }

    pub fn error(&self, text: &str) {
        abi::log(LogLevel::ERROR, text);
    }

    /// Gives the decision on an event that was deferred. False: nobody waited for it any more.
    pub fn complete(&self, event_id: u64, decision: impl Into<Verdict<'static>>) -> Result<bool, HostError<'static>> {
        let verdict = Some(Box::new(decision.into()));
        let request = CompleteRequest { completions: vec![Completion { event_id, verdict }] };
        Ok(self.service().complete(&request)?.late == 0)
    }

    /// Publishes messages as the plugin, in order; up to 1,024. It answers when they are routed and as safe as PUBACK
    /// promises. Each result has a Reason Code of its own. Waits. Grant: publish.
    pub fn publish<'a>(&'a self, messages: Vec<Message<'_>>) -> Result<Vec<PublishResult<'a>>, HostError<'static>> {
        self.publish_as("", messages)
    }

    /// Publishes as a client, connected or with a session, with its permissions and through all plugins. Waits.
    /// Grant: publish_as_client.
    pub fn publish_as<'a>(
        &'a self, client_id: &str, messages: Vec<Message<'_>>,
    ) -> Result<Vec<PublishResult<'a>>, HostError<'static>> {
        Ok(self.service().publish(&PublishRequest { messages, as_client: client_id.into() })?.results)
    }

    /// Closes a client's connection; false if there was none. Grant: disconnect.
    pub fn disconnect(&self, request: &DisconnectRequest) -> Result<bool, HostError<'static>> {
        Ok(self.service().disconnect(request)?.found)
    }

    /// Keeps clients out, and returns the ban's id. Waits. Grant: ban.
    pub fn ban<'a>(&'a self, ban: Ban<'_>) -> Result<Text<'a>, HostError<'static>> {
        Ok(self.service().ban_add(&BanAddRequest { ban: Some(Box::new(ban)) })?.id)
    }

    /// Lifts a ban; false if there was none. Waits. Grant: ban.
    pub fn unban(&self, id: &str) -> Result<bool, HostError<'static>> {
        Ok(self.service().ban_remove(&BanRemoveRequest { id: id.into() })?.found)
    }

    /// A page of connected clients; see `ClientsRequest`. Grant: clients.
    pub fn clients(&self, request: &ClientsRequest) -> Result<ClientsResponse<'_>, HostError<'static>> {
        self.service().clients(request)
    }

    /// The session of a client, connected or not. Grant: clients.
    pub fn client<'a>(&'a self, request: &ClientRequest) -> Result<Option<Box<Session<'a>>>, HostError<'static>> {
        Ok(self.service().client(request)?.session)
    }

    /// A page of sessions; see `SessionsRequest`. Grant: clients.
    pub fn sessions(&self, request: &SessionsRequest) -> Result<SessionsResponse<'_>, HostError<'static>> {
        self.service().sessions(request)
    }

    /// A page of subscriptions; see `SubscriptionsRequest`. Grant: clients.
    pub fn subscriptions(&self, request: &SubscriptionsRequest) -> Result<SubscriptionsResponse<'_>, HostError<'static>> {
        self.service().subscriptions(request)
    }

    /// A page of retained messages; see `RetainedRequest`. Grant: retained.
    pub fn retained(&self, request: &RetainedRequest) -> Result<RetainedResponse<'_>, HostError<'static>> {
        self.service().retained(request)
    }

    /// What a client would be shown of messages; see `ScreenRequest`. Waits. Grant: clients.
    pub fn screen(&self, request: &ScreenRequest) -> Result<ScreenResponse<'_>, HostError<'static>> {
        self.service().screen(request)
    }

    /// A value of the plugin's own storage with its version, from 1. Grant: kv.
    pub fn kv_get<'a>(&'a self, key: &str) -> Result<Option<(Bytes<'a>, u64)>, HostError<'static>> {
        let out = self.service().kv_get(&KvGetRequest { key: key.into() })?;
        Ok(if out.version == 0 { None } else { Some((out.value, out.version)) })
    }

    /// Stores a value, up to 1 MiB, for a time, 0 for ever, and returns its version. Waits. Grant: kv.
    pub fn kv_set(&self, key: &str, value: &[u8], ttl_ms: u64) -> Result<u64, HostError<'static>> {
        Ok(self.service().kv_set(&KvSetRequest { key: key.into(), value: value.into(), ttl_ms })?.version)
    }

    /// Stores a value if the present one has a version, 0 if there must be none. None: it has another. Waits. Grant: kv.
    pub fn kv_compare_and_set(
        &self, key: &str, value: &[u8], ttl_ms: u64, version: u64,
    ) -> Result<Option<u64>, HostError<'static>> {
        let request = KvCompareAndSetRequest { key: key.into(), value: value.into(), ttl_ms, version };
        let out = self.service().kv_compare_and_set(&request)?;
        Ok(if out.stored { Some(out.version) } else { None })
    }

    /// Removes a value, if there is one. Waits. Grant: kv.
    pub fn kv_delete(&self, key: &str) -> Result<(), HostError<'static>> {
        self.service().kv_delete(&KvDeleteRequest { key: key.into() }).map(|_| ())
    }

    /// A page of values; see `KvScanRequest`. Waits. Grant: kv.
    pub fn kv_scan(&self, request: &KvScanRequest) -> Result<KvScanResponse<'_>, HostError<'static>> {
        self.service().kv_scan(request)
    }

    /// A secret of the broker's config. Grant: secrets, which names it.
    pub fn secret<'a>(&'a self, name: &str) -> Result<Bytes<'a>, HostError<'static>> {
        Ok(self.service().secret(&SecretRequest { name: name.into() })?.value)
    }

    /// Has `TimerHandler::timer` called after a delay, and again after each period, from 100 ms, if that is not 0. A timer
    /// of the same name is replaced. Grant: timers, which every plugin has unless it is taken away.
    pub fn set_timer(&self, name: &str, delay_ms: u64, period_ms: u64, data: &[u8]) -> Result<(), HostError<'static>> {
        let request = SetTimerRequest { name: name.into(), delay_ms, period_ms, data: data.into() };
        self.service().set_timer(&request).map(|_| ())
    }

    /// Takes a timer back; false if there is none. Grant: timers.
    pub fn cancel_timer(&self, name: &str) -> Result<bool, HostError<'static>> {
        Ok(self.service().cancel_timer(&CancelTimerRequest { name: name.into() })?.found)
    }

    /// Makes an HTTP request through the broker; any status is a response. Waits. Grant: http, which names origins.
    pub fn fetch(&self, request: &Fetch) -> Result<HttpFetchResponse<'_>, HostError<'static>> {
        self.service().http_fetch(request)
    }

    /// Hashes a password for storage. Waits. Grant: password.
    pub fn hash_password<'a>(&'a self, password: &[u8]) -> Result<Text<'a>, HostError<'static>> {
        let request = PasswordHashRequest { password: password.into(), ..Default::default() };
        Ok(self.service().password_hash(&request)?.hash)
    }

    /// Whether a password fits a hash. Waits. Grant: password.
    pub fn verify_password(&self, password: &[u8], hash: &str) -> Result<bool, HostError<'static>> {
        let request = PasswordVerifyRequest { password: password.into(), hash: hash.into() };
        Ok(self.service().password_verify(&request)?.matches)
    }

    /// Adds to a counter of the broker's /metrics. Grant: metrics, which every plugin has unless it is taken away.
    pub fn count(&self, name: &str, labels: Vec<Pair<'_>>, value: f64) -> Result<(), HostError<'static>> {
        self.measure(MetricKind::COUNTER, name, labels, value)
    }

    /// Sets a gauge. Grant: metrics.
    pub fn gauge(&self, name: &str, labels: Vec<Pair<'_>>, value: f64) -> Result<(), HostError<'static>> {
        self.measure(MetricKind::GAUGE, name, labels, value)
    }

    /// Adds to a histogram. Grant: metrics.
    pub fn observe(&self, name: &str, labels: Vec<Pair<'_>>, value: f64) -> Result<(), HostError<'static>> {
        self.measure(MetricKind::HISTOGRAM, name, labels, value)
    }

    fn measure(&self, kind: MetricKind, name: &str, labels: Vec<Pair<'_>>, value: f64) -> Result<(), HostError<'static>> {
        let sample = Sample { name: name.into(), kind, value, labels, ..Default::default() };
        self.service().metric(&MetricRequest { samples: vec![sample] }).map(|_| ())
    }

    /// Makes the host forget answers of this plugin that it has cached, and ask again what clients may do
    /// (`Permitter`).
    pub fn invalidate_decisions(&self, request: &InvalidateDecisionsRequest) -> Result<(), HostError<'static>> {
        self.service().invalidate_decisions(request).map(|_| ())
    }
}

/// Gets the error of the last call that failed with this code.
#[cold]
fn last_error(code: i32) -> HostError<'static> {
    let mut out = vec![0; FIRST_RESPONSE];
    let mut n = abi::host_call(HostOp::LAST_ERROR, &[], &mut out);
    if n > FIRST_RESPONSE as i32 {
        out = vec![0; n as usize];
        n = abi::host_call(HostOp::LAST_ERROR, &[], &mut out);
    }
    match HostError::decode(out.get(..n.max(0) as usize).unwrap_or(&[])) {
        Ok(e) if n > 0 => HostError {
            code: e.code,
            message: e.message.into_owned(),
            grant: e.grant.into_owned(),
        },
        _ => HostError::new(HostErrorCode(code), "the host does not say why"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_a_broker_calls_fail() {
        let host = Host::new();
        assert_eq!(host.kv_get("a").unwrap_err().code, HostErrorCode::UNSUPPORTED);
        assert!(!host.worker() && host.granted("kv").is_none());
    }
}
