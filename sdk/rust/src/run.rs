//! Runs a plugin: turns the host's calls into those of its methods, and what they return into answers.

use crate::abi;
use crate::error::{cut, join};
use crate::hooks::{Methods, Module};
use crate::json::{Config, Json};
use crate::request::Nothing;
use crate::v1::*;
use crate::wire::{self, Fields, Proto, Writer};
use crate::{decide, Error, Host, Result};
use std::mem::ManuallyDrop;

/// An instance.
#[doc(hidden)]
pub struct Running<P> {
    plugin: Option<P>,
    host: Host,
    policies: decide::Policies,
    nothing: Nothing,
    input: Vec<u8>,
    /// The last answer, which the host reads before the next call.
    output: Writer,
}

impl<P: Module> Running<P> {
    pub fn new() -> Self {
        abi::tell_panics();
        let (host, policies, nothing) = (Host::new(), Vec::new(), Nothing::default());
        Running { plugin: None, host, policies, nothing, input: Vec::new(), output: Writer::default() }
    }

    /// The memory that the host writes requests to.
    pub fn buffer(&mut self, size: usize) -> *mut u8 {
        self.input = Vec::new();
        self.input = vec![0; size];
        self.input.as_mut_ptr()
    }

    pub fn call(&mut self, op: i32, len: usize) -> i64 {
        // The host has written so much; nothing else does until the call ends.
        let input = std::mem::take(&mut self.input);
        let result = self.answer(PluginOp(op), input.get(..len).unwrap_or(&[]));
        self.input = input;
        self.host.end_call();
        match result {
            Ok(output) => {
                self.output = output;
                let out = self.output.bytes_written();
                if out.is_empty() {
                    return 0;
                }
                (out.as_ptr() as u64 as i64) << 32 | out.len() as i64
            }
            Err(e) => {
                abi::error(cut(&e.text()));
                -1
            }
        }
    }

    fn answer(&mut self, op: PluginOp, input: &[u8]) -> Result<Writer> {
        let m = &P::METHODS;
        match op {
            PluginOp::DESCRIBE => return Ok(describe::<P>()?.encode()),
            PluginOp::START => return Ok(self.start(input)?.encode()),
            _ => {}
        }
        let plugin = self.plugin.as_mut().ok_or("the plugin was not started")?;
        match op {
            PluginOp::CONFIGURE => Ok(configure(plugin, &self.host, read(input)?)?.encode()),
            PluginOp::STOP => {
                if let Some(stop) = m.stop {
                    stop(plugin, &self.host, read::<StopRequest>(input)?.reason)?;
                }
                Ok(Writer::default())
            }
            PluginOp::HEALTH => match m.health {
                Some(health) => Ok(health_of(health(plugin, &self.host)).encode()),
                None => Ok(Writer::default()),
            },
            PluginOp::PROCESS => {
                let batch = read(input)?;
                Ok(decide::answer(plugin, &self.host, &self.policies, &self.nothing, &batch)?.encode())
            }
            PluginOp::CONSUME => match m.consume {
                Some(consume) => {
                    let batch = read(input)?;
                    Ok(consumed(&batch, &self.nothing, |b| consume(plugin, &self.host, b)).encode())
                }
                None => missing("consume"),
            },
            PluginOp::HTTP => match m.http {
                Some(http) => Ok(http(plugin, &self.host, &read(input)?)?.encode()),
                None => missing("HTTP"),
            },
            PluginOp::TIMER => match m.timer {
                Some(timer) => timer(plugin, &self.host, &read(input)?).map(|_| Writer::default()),
                None => missing("timer"),
            },
            _ => missing("this call"),
        }
    }

    fn start(&mut self, input: &[u8]) -> Result<StartResponse<'static>> {
        // For good: an instance is started once.
        let kept: &'static [u8] = Box::leak(input.to_vec().into_boxed_slice());
        let request: &'static mut StartRequest<'static> = Box::leak(Box::default());
        read_into(request, kept)?;
        let config = parse(&request.config)?;
        request.config = Text::EMPTY; // it may hold secrets, and the plugin gets it parsed
        self.host.start = request;
        self.policies = describe::<P>()?.hooks.iter().map(|h| (h.point, h.failure)).collect();
        match P::start(&self.host, &Config::new(&config)) {
            Ok(mut plugin) => {
                let narrowed = narrowed(&mut plugin)?;
                self.plugin = Some(plugin);
                Ok(StartResponse { problems: Vec::new(), narrowed })
            }
            Err(Error::Problems(problems)) => Ok(StartResponse { problems, narrowed: None }),
            Err(e) => Err(e),
        }
    }
}

impl<P: Module> Default for Running<P> {
    fn default() -> Self {
        Running::new()
    }
}

fn missing<T>(what: &str) -> Result<T> {
    Err(Error::Failed(join(&["the plugin has no trait for ", what])))
}

fn read<'a, M: Proto<'a>>(input: &'a [u8]) -> Result<M> {
    let mut message = M::default();
    read_into(&mut message, input)?;
    Ok(message)
}

fn read_into<'a>(message: &mut dyn Fields<'a>, input: &'a [u8]) -> Result<()> {
    wire::read(message, input).map_err(|e| Error::Failed(join(&["the request cannot be read: ", e.text()])))
}

fn parse(config: &str) -> Result<Json> {
    Ok(Json::parse(if config.is_empty() { "{}" } else { config })?)
}

fn configure<P: Module>(plugin: &mut P, host: &Host, request: ConfigureRequest) -> Result<ConfigureResponse<'static>> {
    let method = match P::METHODS.configure {
        Some(method) => method,
        None => return Ok(ConfigureResponse { restart: true, ..Default::default() }),
    };
    let config = parse(&request.config)?;
    match method(plugin, host, &Config::new(&config)) {
        Ok(()) => Ok(ConfigureResponse { narrowed: narrowed(plugin)?, ..Default::default() }),
        Err(Error::Problems(problems)) => Ok(ConfigureResponse { problems, ..Default::default() }),
        Err(Error::Restart) => Ok(ConfigureResponse { restart: true, ..Default::default() }),
        Err(e) => Err(e),
    }
}

fn health_of(result: Result<()>) -> HealthResponse<'static> {
    match result {
        Ok(()) => HealthResponse::default(),
        Err(e) => {
            let degraded = matches!(e, Error::Degraded(_));
            let status = if degraded { HealthStatus::DEGRADED } else { HealthStatus::NOT_SERVING };
            HealthResponse { status, message: cut(&e.text()).to_string().into() }
        }
    }
}

fn consumed(
    batch: &ConsumeBatch, nothing: &Nothing, consume: impl FnOnce(&mut crate::ConsumeBatch) -> Result<()>,
) -> ConsumeResult<'static> {
    let n = batch.deliveries.len();
    let mut b = crate::ConsumeBatch { batch, nothing, results: vec![DeliveryResult::default(); n] };
    let error = match consume(&mut b) {
        Ok(()) => Text::EMPTY,
        Err(e) => cut(&e.text()).to_string().into(),
    };
    let failed = !error.is_empty();
    let mut results = b.results;
    results.retain(|r| r.outcome != Outcome::UNSPECIFIED && (failed || r.outcome != Outcome::OK));
    let last = batch.deliveries.last().map_or(0, |d| d.offset);
    ConsumeResult { seq: 0, acknowledged_offset: if failed { 0 } else { last }, results, error }
}

fn narrowed<P: Module>(plugin: &mut P) -> Result<Option<Box<Narrowed<'static>>>> {
    let mut out = match P::METHODS.narrow.and_then(|narrow| narrow(plugin)) {
        Some(out) => out,
        None => return Ok(None),
    };
    fill_in(&P::METHODS, &mut out.hooks)?;
    Ok(Some(Box::new(out)))
}

/// Points that are asked for where there is a trait for them.
const BY_DEFAULT: [Point; 10] = [
    Point::AUTHENTICATE,
    Point::PERMIT,
    Point::AUTHORIZE_PUBLISH,
    Point::AUTHORIZE_SUBSCRIBE,
    Point::INTERCEPT_PUBLISH,
    Point::INTERCEPT_SUBSCRIBE,
    Point::INTERCEPT_UNSUBSCRIBE,
    Point::INTERCEPT_WILL,
    Point::INTERCEPT_DELIVER,
    Point::GATE_PUBLISH,
];

/// Which fields a point gets unless its hook names others; None if the plugin has no trait for it.
fn serves<P>(m: &Methods<P>, p: Point) -> Option<u32> {
    let payload = Field::PAYLOAD.0;
    let (has, fields) = match p {
        Point::AUTHENTICATE => (m.authenticate.is_some(), Field::PASSWORD.0),
        Point::PERMIT => (m.permit.is_some(), Field::ATTRIBUTES.0 | Field::CONNECTION.0),
        Point::AUTHORIZE_PUBLISH | Point::AUTHORIZE_SUBSCRIBE | Point::AUTHORIZE_RECEIVE => (m.authorize.is_some(), 0),
        Point::INTERCEPT_PUBLISH => (m.publish.is_some() || m.publish_batch.is_some(), payload),
        Point::INTERCEPT_SUBSCRIBE => (m.subscribe.is_some(), 0),
        Point::INTERCEPT_UNSUBSCRIBE => (m.unsubscribe.is_some(), 0),
        Point::INTERCEPT_WILL => (m.will.is_some(), payload),
        Point::INTERCEPT_DELIVER => (m.deliver.is_some(), payload),
        Point::GATE_PUBLISH => (m.gate.is_some(), payload),
        _ => (m.observe.is_some() && p.0 >= Point::CONNECTED.0, 0),
    };
    if has {
        Some(fields as u32)
    } else {
        None
    }
}

/// Puts the default fields into hooks that name none.
fn fill_in<P>(m: &Methods<P>, hooks: &mut [Hook]) -> Result<()> {
    for h in hooks {
        let fields = serves(m, h.point).ok_or("hooks has a point that plugin! names no trait for")?;
        if h.fields == 0 {
            h.fields = fields;
        }
    }
    Ok(())
}

/// Asked for once or twice, so that it need not be freed: that would be code for all that is in it.
fn describe<P: Module>() -> Result<ManuallyDrop<Manifest<'static>>> {
    let m = &P::METHODS;
    let mut out = ManuallyDrop::new(P::manifest());
    fill_in(m, &mut out.hooks)?;
    for point in BY_DEFAULT {
        match serves(m, point) {
            Some(fields) if out.hooks.iter().all(|h| h.point != point) => {
                out.hooks.push(Hook { point, fields, ..Default::default() });
            }
            _ => {}
        }
    }
    if m.permit.is_some() && out.needed_features.iter().all(|f| f != "permit") {
        out.needed_features.push("permit".into());
    }
    if m.consume.is_some() == out.consumers.is_empty() {
        return Err("a plugin needs both, Consumer and consumers in its manifest, or none".into());
    }
    if m.http.is_some() == out.http_routes.is_empty() {
        return Err("a plugin needs both, HttpHandler and http_routes in its manifest, or none".into());
    }
    Ok(out)
}
