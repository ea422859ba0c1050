//! Answers a batch, event by event.

use crate::error::{join, ReasonCode};
use crate::hooks::{AskPublish, AskSubscribe, Module};
use crate::request::*;
use crate::v1::{Access, Action, Answer, Batch, FailurePolicy, Point, Verdict};
use crate::{AuthResult, Decision, Error, Host, Result};

/// What is noted while a batch is answered.
struct Scratch<'a> {
    events: EventBatch<'a>,
    verdicts: Vec<Verdict<'static>>,
    failed: Vec<usize>,
    failure: Option<Error>,
}

/// What the manifest says is to become of events of a point that fail.
pub(crate) type Policies = Vec<(Point, FailurePolicy)>;

/// Asks the plugin about a batch. An error is about all of it.
pub(crate) fn answer<'a, P: Module>(
    plugin: &mut P, host: &Host, policies: &Policies, nothing: &'a Nothing, batch: &'a Batch<'a>,
) -> Result<Answer<'static>> {
    let events = EventBatch { point: batch.point, lost: batch.lost, batch, nothing };
    let mut s = Scratch { events, verdicts: Vec::new(), failed: Vec::new(), failure: None };
    s.ask(plugin, host)?;
    if let Some(failure) = s.failure.take() {
        if s.failed.len() == s.events.len() {
            return Err(failure);
        }
        let instead = fallback(policies, batch.point);
        for i in std::mem::take(&mut s.failed) {
            s.add(i, instead.clone().into());
        }
        host.error(&join(&["events of a batch failed: ", &failure.text()]));
    }
    Ok(Answer { verdicts: s.verdicts, ..Answer::default() })
}

impl<'a> Scratch<'a> {
    fn add(&mut self, i: usize, mut v: Verdict<'static>) {
        if v.action != Action::CONTINUE {
            v.event = i as u32;
            self.verdicts.push(v);
        }
    }

    fn fail(&mut self, i: usize, e: Error) {
        self.failed.push(i);
        self.failure.get_or_insert(e);
    }

    /// Notes the decision on the i-th event, with what is to be added to its verdict.
    fn decide(&mut self, i: usize, result: Result<Decision>, more: impl FnOnce(&mut Verdict<'static>)) {
        match result.or_else(refusal) {
            Ok(d) => {
                let mut v = d.into();
                more(&mut v);
                self.add(i, v);
            }
            Err(e) => self.fail(i, e),
        }
    }

    fn identify(&mut self, i: usize, result: Result<AuthResult>) {
        match result {
            Ok(r) => self.add(i, r.into()),
            Err(e) => self.decide(i, Err(e), |_| {}),
        }
    }

    fn request(&self, i: usize) -> PublishRequest<'a> {
        let Happened { event, client, message } = self.events.at(i);
        PublishRequest { client, message, event_id: event.id, changed: 0, replacement: None, additional: Vec::new() }
    }

    /// Notes the decision on a message together with what has been changed of it.
    fn published(&mut self, i: usize, result: Result<Decision>, r: PublishRequest) {
        if r.changed == 0 && r.additional.is_empty() {
            return self.decide(i, result, |_| {});
        }
        self.decide(i, result, |v| {
            if takes_changes(v) {
                v.changed = r.changed;
                v.replacement = r.replacement;
                v.additional = r.additional;
            }
        });
    }

    fn ask<P: Module>(&mut self, plugin: &mut P, host: &Host) -> Result<()> {
        let m = &P::METHODS;
        match self.events.point {
            Point::AUTHENTICATE => {
                let authenticate = m.authenticate.ok_or(NO_TRAIT)?;
                for i in 0..self.events.len() {
                    let Happened { event, client, .. } = self.events.at(i);
                    let authentication = match &event.authentication {
                        Some(a) => a,
                        None => &self.events.nothing.authentication,
                    };
                    let r = AuthRequest { client, authentication, event_id: event.id };
                    self.identify(i, authenticate(plugin, host, &r));
                }
            }
            Point::PERMIT => {
                let permit = m.permit.ok_or(NO_TRAIT)?;
                for i in 0..self.events.len() {
                    let Happened { event, client, .. } = self.events.at(i);
                    self.identify(i, permit(plugin, host, &PermitRequest { client, event_id: event.id }));
                }
            }
            Point::AUTHORIZE_PUBLISH | Point::AUTHORIZE_SUBSCRIBE | Point::AUTHORIZE_RECEIVE => {
                let authorize = m.authorize.ok_or(NO_TRAIT)?;
                for i in 0..self.events.len() {
                    let r = self.authorize_request(i);
                    let result = authorize(plugin, host, &r);
                    self.decide(i, result, |_| {});
                }
            }
            Point::INTERCEPT_PUBLISH => match m.publish_batch {
                Some(method) => self.ask_publish_batch(|b| method(plugin, host, b))?,
                None => self.ask_publish(plugin, host, m.publish.ok_or(NO_TRAIT)?),
            },
            Point::INTERCEPT_SUBSCRIBE => self.ask_subscribe(plugin, host, m.subscribe.ok_or(NO_TRAIT)?),
            Point::INTERCEPT_UNSUBSCRIBE => self.ask_subscribe(plugin, host, m.unsubscribe.ok_or(NO_TRAIT)?),
            Point::INTERCEPT_WILL => self.ask_publish(plugin, host, m.will.ok_or(NO_TRAIT)?),
            Point::INTERCEPT_DELIVER => self.ask_publish(plugin, host, m.deliver.ok_or(NO_TRAIT)?),
            Point::GATE_PUBLISH => {
                let gate = m.gate.ok_or(NO_TRAIT)?;
                self.ask_gate(|b| gate(plugin, host, b))?;
            }
            _ => m.observe.ok_or(NO_TRAIT)?(plugin, host, &self.events)?,
        }
        Ok(())
    }

    fn authorize_request(&self, i: usize) -> AuthorizeRequest<'a> {
        let Happened { event, client, message } = self.events.at(i);
        let (topic, qos, retain) = (&*event.topic, event.qos, event.retain);
        let r = AuthorizeRequest { client, access: Access::PUBLISH, topic, qos, retain, message: None, event_id: event.id };
        match self.events.point {
            Point::AUTHORIZE_PUBLISH => r,
            Point::AUTHORIZE_SUBSCRIBE => AuthorizeRequest { access: Access::SUBSCRIBE, ..r },
            _ => AuthorizeRequest {
                access: Access::RECEIVE,
                topic: &message.topic,
                qos: message.qos,
                retain: message.retain,
                message: Some(message),
                ..r
            },
        }
    }

    fn ask_publish<P>(&mut self, plugin: &mut P, host: &Host, method: AskPublish<P>) {
        for i in 0..self.events.len() {
            let mut r = self.request(i);
            let result = method(plugin, host, &mut r);
            self.published(i, result, r);
        }
    }

    fn ask_publish_batch(&mut self, method: impl FnOnce(&mut PublishBatch) -> Result<()>) -> Result<()> {
        let n = self.events.len();
        let mut b = PublishBatch { requests: (0..n).map(|i| self.request(i)).collect(), decisions: vec![Decision::CONTINUE; n] };
        if let Err(e) = method(&mut b) {
            return self.refuse_all(e);
        }
        for (i, (r, d)) in b.requests.into_iter().zip(b.decisions).enumerate() {
            self.published(i, Ok(d), r);
        }
        Ok(())
    }

    fn ask_gate(&mut self, method: impl FnOnce(&mut GateBatch) -> Result<()>) -> Result<()> {
        let n = self.events.len();
        let events = EventBatch { ..self.events };
        let mut b = GateBatch { events, decisions: vec![Decision::CONTINUE; n] };
        if let Err(e) = method(&mut b) {
            return self.refuse_all(e);
        }
        for (i, d) in b.decisions.into_iter().enumerate() {
            self.decide(i, Ok(d), |_| {});
        }
        Ok(())
    }

    /// Refuses all events if the error is a refusal; another one is returned.
    fn refuse_all(&mut self, e: Error) -> Result<()> {
        let d = refusal(e)?;
        for i in 0..self.events.len() {
            self.decide(i, Ok(d.clone()), |_| {});
        }
        Ok(())
    }

    fn ask_subscribe<P>(&mut self, plugin: &mut P, host: &Host, method: AskSubscribe<P>) {
        for i in 0..self.events.len() {
            let Happened { event, client, .. } = self.events.at(i);
            let (subscriptions, user_properties) = (&event.subscriptions, &event.user_properties);
            let mut r = SubscribeRequest { client, subscriptions, user_properties, event_id: event.id, filters: Vec::new() };
            let result = method(plugin, host, &mut r);
            let filters = r.filters;
            if filters.is_empty() {
                self.decide(i, result, |_| {});
                continue;
            }
            self.decide(i, result, |v| {
                if takes_changes(v) {
                    v.filters = filters;
                }
            });
        }
    }
}

const NO_TRAIT: &str = "the plugin has no trait for this point";

/// Whether a verdict may have changes: one that continues does so by replacing.
fn takes_changes(v: &mut Verdict) -> bool {
    if v.action == Action::CONTINUE {
        v.action = Action::REPLACE;
    }
    matches!(v.action, Action::REPLACE | Action::ALLOW)
}

/// The decision that an error stands for, if it is a refusal.
fn refusal(e: Error) -> Result<Decision> {
    match e {
        Error::Refused(code, reason) => Ok(Decision::deny(code, reason)),
        other => Err(other),
    }
}

/// The decision that the failure policy would make, for single events of a batch that have failed.
fn fallback(policies: &Policies, point: Point) -> Decision {
    let mut policy = policies.iter().find(|p| p.0 == point).map_or(FailurePolicy::DEFAULT, |p| p.1);
    let asks = matches!(
        point,
        Point::AUTHENTICATE
            | Point::PERMIT
            | Point::AUTHORIZE_PUBLISH
            | Point::AUTHORIZE_SUBSCRIBE
            | Point::AUTHORIZE_RECEIVE
            | Point::GATE_PUBLISH
    );
    if policy == FailurePolicy::DEFAULT && asks {
        policy = FailurePolicy::DENY;
    }
    match (policy, point) {
        (FailurePolicy::DROP, _) | (FailurePolicy::DENY, Point::INTERCEPT_WILL | Point::INTERCEPT_DELIVER) => {
            Decision::drop("the plugin has failed")
        }
        (FailurePolicy::DENY, _) => Decision::deny(ReasonCode::IMPLEMENTATION_ERROR, ""),
        _ => Decision::CONTINUE,
    }
}
