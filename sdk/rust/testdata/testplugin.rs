//! What sdk/internal/testplugin is in Go: the tests compare the two.

use patchbay::v1::KvScanRequest;
use patchbay::*;

struct TestPlugin {
    password: String,
    prefix: String,
    /// The event whose verdict was put off.
    later: u64,
}

impl TestPlugin {
    fn configured(config: &Config) -> Result<TestPlugin> {
        let password = config.get("password").str()?.to_string();
        if password == "password" {
            return Err(config.get("password").problem("must not be the first that everybody tries"));
        }
        Ok(TestPlugin { password, prefix: config.get("prefix").str_or("ok/")?.to_string(), later: 0 })
    }
}

impl Plugin for TestPlugin {
    fn manifest() -> Manifest<'static> {
        let grant = |name: &'static str, reason: &'static str| Grant { name: name.into(), reason: reason.into(), ..Default::default() };
        Manifest {
            name: "testplugin".into(),
            version: "1.2.3".into(),
            description: "Tests the SDK.".into(),
            hooks: vec![
                Hook {
                    point: Point::INTERCEPT_PUBLISH,
                    fields: (Field::PAYLOAD.0 | Field::PROPERTIES.0) as u32,
                    failure: FailurePolicy::DROP,
                    ..Default::default()
                },
                Hook { point: Point::CONNECTED, ..Default::default() },
                Hook { point: Point::TICK, ..Default::default() },
            ],
            consumers: vec![Queue {
                name: "all".into(),
                topic_filters: vec!["#".into()],
                fields: Field::PAYLOAD.0 as u32,
                max_attempts: 3,
                ..Default::default()
            }],
            http_routes: vec![HttpRoute {
                path: "seen".into(),
                description: "Which clients have connected.".into(),
                ..Default::default()
            }],
            grants: vec![grant("publish", "Tells of clients."), grant("kv", "Remembers clients.")],
            instances: 1,
            ..Default::default()
        }
    }

    fn start(host: &Host, config: &Config) -> Result<Self> {
        let plugin = TestPlugin::configured(config)?;
        host.log(LogLevel::INFO, "started");
        Ok(plugin)
    }
}

impl Configurer for TestPlugin {
    fn configure(&mut self, _: &Host, config: &Config) -> Result<()> {
        *self = TestPlugin::configured(config)?;
        Ok(())
    }
}

impl Stopper for TestPlugin {
    fn stop(&mut self, host: &Host, reason: StopReason) -> Result<()> {
        assert_eq!(reason, StopReason::SHUTDOWN);
        host.log(LogLevel::INFO, "stopped");
        Ok(())
    }
}

impl Healther for TestPlugin {
    fn health(&mut self, _: &Host) -> Result<()> {
        if self.prefix == "ill/" {
            return Err(Error::Degraded("ill".into()));
        }
        Ok(())
    }
}

impl Authenticator for TestPlugin {
    fn authenticate(&mut self, host: &Host, r: &AuthRequest) -> Result<AuthResult> {
        let a = r.authentication;
        match &*r.client.username {
            "panic" => panic!("asked for {}", "it"),
            "fail" => return Err("asked for it".into()),
            "other" => return Ok(AuthResult::CONTINUE),
            "banned" => return Err(Error::refused(ReasonCode::BANNED, "not you")),
            "later" => {
                host.set_timer("later", 1000, 0, b"")?;
                self.later = r.event_id;
                return Ok(AuthResult::DEFER);
            }
            _ => {}
        }
        if a.method == "twice" && a.step == 0 {
            let id = r.client.client_id.as_bytes();
            return Ok(AuthResult::challenge([b"say ", id].concat(), id.to_vec()));
        }
        if a.method == "twice" && a.data == a.state {
            return Ok(AuthResult::accept(Identity { username: "twice".into(), ..Default::default() }));
        }
        if *a.password != *self.password.as_bytes() {
            return Ok(AuthResult::refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD, "wrong password"));
        }
        Ok(AuthResult::accept(Identity {
            has_permissions: true,
            permissions: vec![Permission {
                allow: true,
                actions: (Access::PUBLISH.0 | Access::SUBSCRIBE.0) as u32,
                topic_filter: format!("{}#", self.prefix).into(),
                ttl_ms: 60_000,
                ..Default::default()
            }],
            attributes: vec![Pair { name: "instance".into(), value: host.name().to_string().into() }],
            ..Default::default()
        }))
    }
}

impl Permitter for TestPlugin {
    fn permit(&mut self, _: &Host, r: &PermitRequest) -> Result<AuthResult> {
        match &*r.client.username {
            "fail" => return Err("asked for it".into()),
            "banned" => return Ok(AuthResult::refuse(ReasonCode::BANNED, "not you")),
            _ => {}
        }
        match r.client.attributes.iter().find(|a| a.name == "group") {
            Some(group) => Ok(AuthResult::permit(vec![Permission {
                allow: true,
                actions: Access::PUBLISH.0 as u32,
                topic_filter: format!("{}/{}/#", group.value, r.client.username).into(),
                retain: RetainRule::NOT_RETAINED,
                ..Default::default()
            }])),
            None => Ok(AuthResult::CONTINUE),
        }
    }
}

impl Authorizer for TestPlugin {
    fn authorize(&mut self, _: &Host, r: &AuthorizeRequest) -> Result<Decision> {
        if r.topic.starts_with("secret/") {
            return Ok(Decision::deny(0, "secret").cached(60_000));
        }
        if r.access == Access::PUBLISH && r.retain {
            return Ok(Decision::deny(ReasonCode::QUOTA_EXCEEDED, ""));
        }
        Ok(Decision::ALLOW)
    }
}

impl PublishInterceptor for TestPlugin {
    fn publish(&mut self, _: &Host, r: &mut PublishRequest) -> Result<Decision> {
        let payload = r.message.payload.to_vec();
        match &*r.message.topic {
            "panic" => {
                let none: Option<&str> = None;
                none.unwrap();
            }
            "fail" => return Err("asked for it".into()),
            "drop" => return Ok(Decision::drop("unwanted")),
            "disconnect" => return Ok(Decision::disconnect(0, "go away")),
            "upper" => {
                r.set_payload(payload.to_ascii_uppercase());
                r.set_content_type("text/plain");
            }
            "twice" => r.add(Message { topic: "twice/again".into(), payload: payload.into(), ..Default::default() }),
            "now" => return Ok(Decision::deny(ReasonCode::SERVER_BUSY, "now")),
            _ => {}
        }
        Ok(Decision::CONTINUE)
    }
}

impl SubscribeInterceptor for TestPlugin {
    fn subscribe(&mut self, _: &Host, r: &mut SubscribeRequest) -> Result<Decision> {
        for (i, s) in r.subscriptions.iter().enumerate() {
            if s.topic_filter == "#" {
                r.refuse(i, 0);
            } else if s.qos == 2 {
                r.replace(i, Subscription { topic_filter: s.topic_filter.clone().into_owned(), qos: 1, ..*s });
            }
        }
        Ok(Decision::CONTINUE)
    }
}

impl WillInterceptor for TestPlugin {
    fn will(&mut self, _: &Host, r: &mut PublishRequest) -> Result<Decision> {
        if r.message.payload.is_empty() {
            return Ok(Decision::drop(""));
        }
        r.set_retain(false);
        Ok(Decision::ALLOW)
    }
}

impl PublishGate for TestPlugin {
    fn gate(&mut self, _: &Host, b: &mut GateBatch) -> Result<()> {
        for i in 0..b.events().len() {
            match &*b.events().at(i).message.topic {
                "full" => return Err(Error::refused(ReasonCode::QUOTA_EXCEEDED, "full")),
                "odd" => b.decide(i, Decision::deny(ReasonCode::PAYLOAD_FORMAT_INVALID, "odd")),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Observer for TestPlugin {
    fn observe(&mut self, host: &Host, b: &EventBatch) -> Result<()> {
        if b.point != Point::CONNECTED {
            return Ok(());
        }
        for e in b.iter() {
            host.count("seen_total", vec![Pair { name: "namespace".into(), value: e.client.namespace.clone() }], 1.0)?;
            host.kv_set(&format!("seen/{}", e.client.client_id), b"1", 3_600_000)?;
        }
        Ok(())
    }
}

impl Consumer for TestPlugin {
    fn consume(&mut self, _: &Host, b: &mut ConsumeBatch) -> Result<()> {
        for i in 0..b.len() {
            match &*b.at(i).message.payload {
                b"retry" => b.retry(i, 5000, "not now"),
                b"dead" => b.dead_letter(i, "hopeless"),
                b"ack" => b.ack(i),
                b"stop" => {
                    b.stop_at(i, 0, "in order");
                    return Ok(());
                }
                b"fail" => return Err("asked for it".into()),
                _ => {}
            }
        }
        Ok(())
    }
}

impl HttpHandler for TestPlugin {
    fn http(&mut self, host: &Host, r: &HttpRequest) -> Result<HttpResponse<'static>> {
        if r.path != "seen" {
            return Ok(HttpResponse { status: 404, ..Default::default() });
        }
        let mut body = String::new();
        let mut after = String::new();
        loop {
            let request = KvScanRequest { prefix: "seen/".into(), after: after.as_str().into(), keys_only: true, ..Default::default() };
            let page = match host.kv_scan(&request) {
                Err(e) if e.code == HostErrorCode::DENIED => {
                    let body = format!("no grant {:?}", e.grant).into_bytes().into();
                    return Ok(HttpResponse { status: 403, body, ..Default::default() });
                }
                page => page?,
            };
            for e in &page.entries {
                body += &e.key;
                body += "\n";
            }
            match page.entries.last() {
                Some(last) if page.more => after = last.key.to_string(),
                _ => break,
            }
        }
        Ok(HttpResponse {
            headers: vec![Pair { name: "content-type".into(), value: "text/plain".into() }],
            body: body.into_bytes().into(),
            ..Default::default()
        })
    }
}

impl TimerHandler for TestPlugin {
    fn timer(&mut self, host: &Host, t: &TimerFired) -> Result<()> {
        if self.later != 0 {
            host.complete(self.later, AuthResult::accept(Identity { username: "late".into(), ..Default::default() }))?;
            self.later = 0;
        }
        let topic = format!("timers/{}", t.name).into();
        host.publish(vec![Message { topic, payload: t.data.clone(), ..Default::default() }])?;
        Ok(())
    }
}

plugin!(TestPlugin: Configurer, Stopper, Healther, Authenticator, Permitter, Authorizer, PublishInterceptor,
    SubscribeInterceptor, WillInterceptor, PublishGate, Observer, Consumer, HttpHandler, TimerHandler);
