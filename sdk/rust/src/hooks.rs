//! What a plugin implements.

use crate::request::{
    AuthRequest, AuthorizeRequest, ConsumeBatch, EventBatch, GateBatch, PermitRequest, PublishBatch, PublishRequest,
    SubscribeRequest,
};
use crate::v1::{HttpRequest, HttpResponse, Manifest, Narrowed, StopReason, TimerFired};
use crate::{AuthResult, Config, Decision, Host, Result};

/// A plugin. The traits below are for what it is called at; `plugin!` names those that it has.
pub trait Plugin: Sized + 'static {
    /// What the plugin says of itself. `hooks` needs to list only what is to be other than by default, and points of
    /// observation: the points of traits that are there are asked for by themselves, but for
    /// `Point::AUTHORIZE_RECEIVE`. In a hook that is listed fields 0 stands for the trait's default.
    fn manifest() -> Manifest<'static>;

    /// Makes the plugin from its config. `Config::problem` refuses it; another error is a failure.
    fn start(host: &Host, config: &Config) -> Result<Self>;
}

/// Takes a changed config while running. If it refuses, the old one has to stay in force; with `Error::Restart` a new
/// instance is started beside this one. Plugins without it are restarted.
pub trait Configurer {
    fn configure(&mut self, host: &Host, config: &Config) -> Result<()>;
}

/// Says, after start and configure, that with its present config the plugin needs less than its manifest says.
pub trait Narrower {
    fn narrow(&mut self) -> Option<Narrowed<'static>>;
}

/// Finishes. Nothing is called afterwards.
pub trait Stopper {
    fn stop(&mut self, host: &Host, reason: StopReason) -> Result<()>;
}

/// Says about every 10 s whether the plugin can do its work: Ok, `Error::Degraded` (badly), or another error (not).
pub trait Healther {
    fn health(&mut self, host: &Host) -> Result<()>;
}

/// Decides who a client is (`Point::AUTHENTICATE`; `Field::PASSWORD`). For an enhanced authentication (MQTT 5 §4.12) it
/// answers with `AuthResult::challenge` and is asked again with the next AUTH.
pub trait Authenticator {
    fn authenticate(&mut self, host: &Host, r: &AuthRequest) -> Result<AuthResult>;
}

/// Says what a client that is let in may do (`Point::PERMIT`; `Field::ATTRIBUTES` and `CONNECTION`), if its
/// authenticator did not. Hosts without the feature "permit" do not start such a plugin.
pub trait Permitter {
    fn permit(&mut self, host: &Host, r: &PermitRequest) -> Result<AuthResult>;
}

/// Decides what a client may do, if it got no permissions when it was let in (`Point::AUTHORIZE_PUBLISH`,
/// `AUTHORIZE_SUBSCRIBE`; `AUTHORIZE_RECEIVE` if the manifest has it).
pub trait Authorizer {
    fn authorize(&mut self, host: &Host, r: &AuthorizeRequest) -> Result<Decision>;
}

/// Decides about messages on their way in, one by one, and may change them (`Point::INTERCEPT_PUBLISH`;
/// `Field::PAYLOAD`).
pub trait PublishInterceptor {
    fn publish(&mut self, host: &Host, r: &mut PublishRequest) -> Result<Decision>;
}

/// `PublishInterceptor` for many messages at once. What it does not decide about continues.
pub trait PublishBatchInterceptor {
    fn publish_batch(&mut self, host: &Host, b: &mut PublishBatch) -> Result<()>;
}

/// Decides about SUBSCRIBE packets (`Point::INTERCEPT_SUBSCRIBE`).
pub trait SubscribeInterceptor {
    fn subscribe(&mut self, host: &Host, r: &mut SubscribeRequest) -> Result<Decision>;
}

/// Decides about UNSUBSCRIBE packets (`Point::INTERCEPT_UNSUBSCRIBE`).
pub trait UnsubscribeInterceptor {
    fn unsubscribe(&mut self, host: &Host, r: &mut SubscribeRequest) -> Result<Decision>;
}

/// Decides about Will Messages that are about to be published (`Point::INTERCEPT_WILL`; `Field::PAYLOAD`): continue,
/// allow or drop, changed or not.
pub trait WillInterceptor {
    fn will(&mut self, host: &Host, r: &mut PublishRequest) -> Result<Decision>;
}

/// Decides about one receiver's copy of a message (`Point::INTERCEPT_DELIVER`; `Field::PAYLOAD`): continue, allow or drop,
/// changed (but for the QoS) or not. It costs times the fan-out.
pub trait DeliverInterceptor {
    fn deliver(&mut self, host: &Host, r: &mut PublishRequest) -> Result<Decision>;
}

/// Returns when all messages of the batch are safe with the plugin; their acknowledgements wait for it
/// (`Point::GATE_PUBLISH`; `Field::PAYLOAD`). `Error::Refused` is what publishers get instead.
pub trait PublishGate {
    fn gate(&mut self, host: &Host, b: &mut GateBatch) -> Result<()>;
}

/// Is told what has happened, at the points that the manifest's hooks list.
pub trait Observer {
    fn observe(&mut self, host: &Host, b: &EventBatch) -> Result<()>;
}

/// Gets the messages of the manifest's consumers, each at least once. Ok acknowledges what the batch's methods do not say
/// otherwise of; after an error, what was not acknowledged by them comes again.
pub trait Consumer {
    fn consume(&mut self, host: &Host, b: &mut ConsumeBatch) -> Result<()>;
}

/// Serves the manifest's HTTP routes.
pub trait HttpHandler {
    fn http(&mut self, host: &Host, r: &HttpRequest) -> Result<HttpResponse<'static>>;
}

/// Is called when a timer that `Host::set_timer` has set runs out.
pub trait TimerHandler {
    fn timer(&mut self, host: &Host, t: &TimerFired) -> Result<()>;
}

/// The methods that a plugin has. `plugin!` makes it.
#[doc(hidden)]
pub struct Methods<P> {
    pub configure: Option<fn(&mut P, &Host, &Config<'_>) -> Result<()>>,
    pub narrow: Option<fn(&mut P) -> Option<Narrowed<'static>>>,
    pub stop: Option<fn(&mut P, &Host, StopReason) -> Result<()>>,
    pub health: Option<fn(&mut P, &Host) -> Result<()>>,
    pub authenticate: Option<fn(&mut P, &Host, &AuthRequest<'_>) -> Result<AuthResult>>,
    pub permit: Option<fn(&mut P, &Host, &PermitRequest<'_>) -> Result<AuthResult>>,
    pub authorize: Option<fn(&mut P, &Host, &AuthorizeRequest<'_>) -> Result<Decision>>,
    pub publish: Option<AskPublish<P>>,
    pub publish_batch: Option<fn(&mut P, &Host, &mut PublishBatch<'_>) -> Result<()>>,
    pub subscribe: Option<AskSubscribe<P>>,
    pub unsubscribe: Option<AskSubscribe<P>>,
    pub will: Option<AskPublish<P>>,
    pub deliver: Option<AskPublish<P>>,
    pub gate: Option<fn(&mut P, &Host, &mut GateBatch<'_>) -> Result<()>>,
    pub observe: Option<fn(&mut P, &Host, &EventBatch<'_>) -> Result<()>>,
    pub consume: Option<fn(&mut P, &Host, &mut ConsumeBatch<'_>) -> Result<()>>,
    pub http: Option<fn(&mut P, &Host, &HttpRequest<'_>) -> Result<HttpResponse<'static>>>,
    pub timer: Option<fn(&mut P, &Host, &TimerFired<'_>) -> Result<()>>,
}

pub type AskPublish<P> = fn(&mut P, &Host, &mut PublishRequest<'_>) -> Result<Decision>;
pub type AskSubscribe<P> = fn(&mut P, &Host, &mut SubscribeRequest<'_>) -> Result<Decision>;

impl<P> Methods<P> {
    pub const NONE: Methods<P> = Methods {
        configure: None,
        narrow: None,
        stop: None,
        health: None,
        authenticate: None,
        permit: None,
        authorize: None,
        publish: None,
        publish_batch: None,
        subscribe: None,
        unsubscribe: None,
        will: None,
        deliver: None,
        gate: None,
        observe: None,
        consume: None,
        http: None,
        timer: None,
    };
}

/// A plugin with its methods, as a constant, so that code for what it does not have is left out of the module.
#[doc(hidden)]
pub trait Module: Plugin {
    const METHODS: Methods<Self>;
}

/// Makes the module's exports lead to a plugin, with the traits that it implements:
///
/// ```ignore
/// patchbay::plugin!(MyPlugin: Authenticator, PublishInterceptor);
/// ```
///
/// A trait that is not named is not called.
#[macro_export]
macro_rules! plugin {
    ($plugin:ty $(: $($hook:ident),+ $(,)?)?) => {
        impl $crate::hooks::Module for $plugin {
            const METHODS: $crate::hooks::Methods<Self> = {
                #[allow(unused_mut)]
                let mut m = $crate::hooks::Methods::NONE;
                $($($crate::__method!(m, $hook);)+)?
                m
            };
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static mut RUNNING: ::core::option::Option<$crate::run::Running<$plugin>> = ::core::option::Option::None;

            #[no_mangle]
            extern "C" fn patchbay_abi_v1() {}

            #[no_mangle]
            extern "C" fn patchbay_buffer(size: usize) -> *mut u8 {
                unsafe { (*::core::ptr::addr_of_mut!(RUNNING)).get_or_insert_with($crate::run::Running::new).buffer(size) }
            }

            #[no_mangle]
            extern "C" fn patchbay_call(op: i32, len: usize) -> i64 {
                unsafe { (*::core::ptr::addr_of_mut!(RUNNING)).get_or_insert_with($crate::run::Running::new).call(op, len) }
            }
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __method {
    ($m:ident, Configurer) => { $m.configure = Some(<Self as $crate::Configurer>::configure) };
    ($m:ident, Narrower) => { $m.narrow = Some(<Self as $crate::Narrower>::narrow) };
    ($m:ident, Stopper) => { $m.stop = Some(<Self as $crate::Stopper>::stop) };
    ($m:ident, Healther) => { $m.health = Some(<Self as $crate::Healther>::health) };
    ($m:ident, Authenticator) => { $m.authenticate = Some(<Self as $crate::Authenticator>::authenticate) };
    ($m:ident, Permitter) => { $m.permit = Some(<Self as $crate::Permitter>::permit) };
    ($m:ident, Authorizer) => { $m.authorize = Some(<Self as $crate::Authorizer>::authorize) };
    ($m:ident, PublishInterceptor) => { $m.publish = Some(<Self as $crate::PublishInterceptor>::publish) };
    ($m:ident, PublishBatchInterceptor) => { $m.publish_batch = Some(<Self as $crate::PublishBatchInterceptor>::publish_batch) };
    ($m:ident, SubscribeInterceptor) => { $m.subscribe = Some(<Self as $crate::SubscribeInterceptor>::subscribe) };
    ($m:ident, UnsubscribeInterceptor) => { $m.unsubscribe = Some(<Self as $crate::UnsubscribeInterceptor>::unsubscribe) };
    ($m:ident, WillInterceptor) => { $m.will = Some(<Self as $crate::WillInterceptor>::will) };
    ($m:ident, DeliverInterceptor) => { $m.deliver = Some(<Self as $crate::DeliverInterceptor>::deliver) };
    ($m:ident, PublishGate) => { $m.gate = Some(<Self as $crate::PublishGate>::gate) };
    ($m:ident, Observer) => { $m.observe = Some(<Self as $crate::Observer>::observe) };
    ($m:ident, Consumer) => { $m.consume = Some(<Self as $crate::Consumer>::consume) };
    ($m:ident, HttpHandler) => { $m.http = Some(<Self as $crate::HttpHandler>::http) };
    ($m:ident, TimerHandler) => { $m.timer = Some(<Self as $crate::TimerHandler>::timer) };
    ($m:ident, $other:ident) => { compile_error!(concat!(stringify!($other), " is not a trait of a plugin")) };
}
