//! What a plugin is asked.

use crate::v1::{
    Access, Authentication, Batch, Change, Client, DeliveryResult, Event, FilterResult, Message, Outcome, Pair, Point,
    Subscription,
};
use crate::wire::{Bytes, Text};
use crate::Decision;

/// One step of an authentication: a CONNECT, an AUTH, or the first packet of a re-authentication.
pub struct AuthRequest<'a> {
    /// The client as it claims to be.
    pub client: &'a Client<'a>,
    /// Password, method, data, step and state.
    pub authentication: &'a Authentication<'a>,
    /// For `Host::complete`.
    pub event_id: u64,
}

/// The question what a client may do.
pub struct PermitRequest<'a> {
    /// The client as authentication has left it.
    pub client: &'a Client<'a>,
    pub event_id: u64,
}

/// The question whether a client may do something.
pub struct AuthorizeRequest<'a> {
    pub client: &'a Client<'a>,
    /// `Access::PUBLISH`, `SUBSCRIBE` or `RECEIVE`.
    pub access: Access,
    /// A Topic Name, or with `SUBSCRIBE` a Topic Filter without $share.
    pub topic: &'a str,
    pub qos: u32,
    /// The RETAIN flag, with `PUBLISH`.
    pub retain: bool,
    /// What is to be received, with `RECEIVE`.
    pub message: Option<&'a Message<'a>>,
    pub event_id: u64,
}

/// A message on its way, which the plugin may change: what the set methods set replaces the field, all else stays,
/// also what the plugin does not see.
pub struct PublishRequest<'a> {
    /// Who published it, or at `DeliverInterceptor` receives it. An empty one if there is none.
    pub client: &'a Client<'a>,
    /// The message as it came.
    pub message: &'a Message<'a>,
    pub event_id: u64,
    pub(crate) changed: u32,
    pub(crate) replacement: Option<Box<Message<'static>>>,
    pub(crate) additional: Vec<Message<'static>>,
}

impl<'a> PublishRequest<'a> {
    fn change(&mut self, field: Change) -> &mut Message<'static> {
        self.changed |= field.0 as u32;
        self.replacement.get_or_insert_with(Default::default)
    }

    pub fn set_topic(&mut self, topic: impl Into<Text<'static>>) {
        self.change(Change::TOPIC).topic = topic.into();
    }

    pub fn set_payload(&mut self, payload: impl Into<Bytes<'static>>) {
        self.change(Change::PAYLOAD).payload = payload.into();
    }

    /// Not for `DeliverInterceptor`.
    pub fn set_qos(&mut self, qos: u32) {
        self.change(Change::QOS).qos = qos;
    }

    pub fn set_retain(&mut self, retain: bool) {
        self.change(Change::RETAIN).retain = retain;
    }

    /// 0 takes it away.
    pub fn set_message_expiry_interval(&mut self, seconds: u32) {
        self.change(Change::MESSAGE_EXPIRY_INTERVAL).message_expiry_interval = seconds;
    }

    /// All of them.
    pub fn set_user_properties(&mut self, properties: Vec<Pair<'static>>) {
        self.change(Change::USER_PROPERTIES).user_properties = properties;
    }

    /// Empty takes it away.
    pub fn set_content_type(&mut self, content_type: impl Into<Text<'static>>) {
        self.change(Change::CONTENT_TYPE).content_type = content_type.into();
    }

    /// Empty takes it away.
    pub fn set_response_topic(&mut self, topic: impl Into<Text<'static>>) {
        self.change(Change::RESPONSE_TOPIC).response_topic = topic.into();
    }

    /// Empty takes it away.
    pub fn set_correlation_data(&mut self, data: impl Into<Bytes<'static>>) {
        self.change(Change::CORRELATION_DATA).correlation_data = data.into();
    }

    pub fn set_payload_format(&mut self, format: u32) {
        self.change(Change::PAYLOAD_FORMAT).payload_format = format;
    }

    /// Has a further message routed after this one, as the same client's, without asking plugins about it; up
    /// to 256. Not for `DeliverInterceptor`.
    pub fn add(&mut self, message: Message<'static>) {
        self.additional.push(message);
    }
}

/// Messages on their way, in order.
pub struct PublishBatch<'a> {
    pub(crate) requests: Vec<PublishRequest<'a>>,
    pub(crate) decisions: Vec<Decision>,
}

impl<'a> PublishBatch<'a> {
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The i-th message, which may be changed.
    pub fn at(&mut self, i: usize) -> &mut PublishRequest<'a> {
        &mut self.requests[i]
    }

    /// Says what becomes of the i-th message. Without it, it continues.
    pub fn decide(&mut self, i: usize, d: Decision) {
        self.decisions[i] = d;
    }
}

/// A SUBSCRIBE or UNSUBSCRIBE, of which single filters may be refused or changed.
pub struct SubscribeRequest<'a> {
    pub client: &'a Client<'a>,
    /// In the packet's order; of an UNSUBSCRIBE only the filters are there.
    pub subscriptions: &'a [Subscription<'a>],
    /// With `Field::USER_PROPERTIES`.
    pub user_properties: &'a [Pair<'a>],
    pub event_id: u64,
    pub(crate) filters: Vec<FilterResult<'static>>,
}

impl<'a> SubscribeRequest<'a> {
    /// Refuses the i-th filter; 0 stands for `NOT_AUTHORIZED`.
    pub fn refuse(&mut self, i: usize, code: u8) {
        let code = if code == 0 { crate::ReasonCode::NOT_AUTHORIZED } else { code };
        self.filters.push(FilterResult { index: i as u32, reason_code: code as u32, subscription: None });
    }

    /// Puts a subscription in the place of the i-th one, whole.
    pub fn replace(&mut self, i: usize, s: Subscription<'static>) {
        self.filters.push(FilterResult { index: i as u32, reason_code: 0, subscription: Some(Box::new(s)) });
    }
}

/// Messages whose acknowledgements wait.
pub struct GateBatch<'a> {
    pub(crate) events: EventBatch<'a>,
    pub(crate) decisions: Vec<Decision>,
}

impl<'a> GateBatch<'a> {
    /// The events with their messages and publishers.
    pub fn events(&self) -> &EventBatch<'a> {
        &self.events
    }

    /// Says something of the i-th message alone: DENY or DEFER. Without it, the message is as safe as the
    /// method's result says of all.
    pub fn decide(&mut self, i: usize, d: Decision) {
        self.decisions[i] = d;
    }
}

/// Events of one point.
pub struct EventBatch<'a> {
    pub point: Point,
    /// How many observations of this point were dropped before these because the plugin was too slow.
    pub lost: u64,
    pub(crate) batch: &'a Batch<'a>,
    pub(crate) nothing: &'a Nothing,
}

/// Something that has happened. Which fields are set is said at `Point`.
pub struct Happened<'a> {
    pub event: &'a Event<'a>,
    /// An empty one if there is none.
    pub client: &'a Client<'a>,
    /// An empty one if there is none.
    pub message: &'a Message<'a>,
}

/// What stands for what is absent.
#[derive(Default)]
pub(crate) struct Nothing {
    pub client: Client<'static>,
    pub message: Message<'static>,
    pub authentication: Authentication<'static>,
}

impl<'a> EventBatch<'a> {
    pub fn len(&self) -> usize {
        self.batch.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.batch.events.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Happened<'a>> + '_ {
        (0..self.len()).map(move |i| self.at(i))
    }

    pub fn at(&self, i: usize) -> Happened<'a> {
        let event = &self.batch.events[i];
        Happened { event, client: client_of(&self.batch.clients, event.client, self.nothing), message: self.message(i) }
    }

    fn message(&self, i: usize) -> &'a Message<'a> {
        let of = self.batch.events[i].message_of as usize;
        let own = if of > 0 && of <= i { of - 1 } else { i };
        match &self.batch.events[own].message {
            Some(m) => m,
            None => &self.nothing.message,
        }
    }
}

fn client_of<'a>(clients: &'a [Client<'a>], number: u32, nothing: &'a Nothing) -> &'a Client<'a> {
    match clients.get((number as usize).wrapping_sub(1)) {
        Some(c) => c,
        None => &nothing.client,
    }
}

/// Messages of one of the manifest's consumers, in order.
pub struct ConsumeBatch<'a> {
    pub(crate) batch: &'a crate::v1::ConsumeBatch<'a>,
    pub(crate) nothing: &'a Nothing,
    pub(crate) results: Vec<DeliveryResult<'static>>,
}

/// A message that is handed over.
pub struct Handed<'a> {
    /// Grows from message to message and stays the same when it comes again.
    pub offset: u64,
    /// 1 for the first time.
    pub attempt: u32,
    pub message: &'a Message<'a>,
    /// Who published it; an empty one if that is not known.
    pub client: &'a Client<'a>,
}

impl<'a> ConsumeBatch<'a> {
    /// The name of the consumer.
    pub fn consumer(&self) -> &'a str {
        &self.batch.consumer
    }

    pub fn len(&self) -> usize {
        self.batch.deliveries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.batch.deliveries.is_empty()
    }

    pub fn at(&self, i: usize) -> Handed<'a> {
        let d = &self.batch.deliveries[i];
        let message = match &d.message {
            Some(m) => m,
            None => &self.nothing.message,
        };
        let client = client_of(&self.batch.clients, d.client, self.nothing);
        Handed { offset: d.offset, attempt: d.attempt, message, client }
    }

    fn mark(&mut self, i: usize, outcome: Outcome, retry_after_ms: u32, reason: Text<'static>) {
        let offset = self.batch.deliveries[i].offset;
        self.results[i] = DeliveryResult { offset, outcome, reason, retry_after_ms };
    }

    /// Acknowledges the i-th message also if the method fails.
    pub fn ack(&mut self, i: usize) {
        self.mark(i, Outcome::OK, 0, "".into());
    }

    /// Has the i-th message come again after a pause, 0 for the consumer's own. What came after it in the batch and is
    /// acknowledged overtakes it.
    pub fn retry(&mut self, i: usize, after_ms: u32, reason: impl Into<Text<'static>>) {
        self.mark(i, Outcome::RETRY, after_ms, reason.into());
    }

    /// Gives the i-th message up.
    pub fn dead_letter(&mut self, i: usize, reason: impl Into<Text<'static>>) {
        self.mark(i, Outcome::DEAD_LETTER, 0, reason.into());
    }

    /// Acknowledges what comes before the i-th message, and has it and all after it come again: that keeps the order.
    pub fn stop_at(&mut self, i: usize, after_ms: u32, reason: impl Into<Text<'static>>) {
        let reason = reason.into();
        for j in i..self.len() {
            self.mark(j, Outcome::RETRY, after_ms, reason.clone());
        }
    }
}
