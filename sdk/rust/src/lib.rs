//! Plugins of the Patchbay MQTT broker, as WebAssembly.
//!
//! ```
//! use patchbay::*;
//!
//! struct OnlyAnn;
//!
//! impl Plugin for OnlyAnn {
//!     fn manifest() -> Manifest<'static> {
//!         Manifest { name: "only-ann".into(), version: "1.0.0".into(), ..Default::default() }
//!     }
//!
//!     fn start(_: &Host, _: &Config) -> Result<Self> {
//!         Ok(OnlyAnn)
//!     }
//! }
//!
//! impl Authenticator for OnlyAnn {
//!     fn authenticate(&mut self, _: &Host, r: &AuthRequest) -> Result<AuthResult> {
//!         if r.client.username == "ann" {
//!             return Ok(AuthResult::accept(Identity::default()));
//!         }
//!         Ok(AuthResult::refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD, "who are you?"))
//!     }
//! }
//!
//! plugin!(OnlyAnn: Authenticator);
//! # fn main() {}
//! ```
//!
//! Start at the traits ([`Authenticator`] and its neighbours), then [`Decision`] and [`AuthResult`] for what they return,
//! and [`Host`] for what a plugin may ask of the broker. The messages are structs in [`v1`] with the names of the contract; of
//! them an absent scalar is zero, and `..Default::default()` stands for all that is not named.
//!
//! What a method gets is valid until it returns; it borrows the host's bytes. An instance makes one call after the
//! other. A panic ends the instance, with its text in the broker's log, and a new one takes its place.

mod abi;
#[cfg(any(target_arch = "wasm32", test))]
mod alloc;
mod decide;
mod decision;
mod error;
#[doc(hidden)]
pub mod hooks;
mod host;
mod json;
mod request;
#[doc(hidden)]
pub mod run;
mod text;
pub mod v1;
#[doc(hidden)]
pub mod wire;

pub use decision::{AuthResult, Decision};
pub use error::{Error, ReasonCode, Result};
pub use hooks::{
    Authenticator, Authorizer, Configurer, Consumer, DeliverInterceptor, Healther, HttpHandler, Narrower, Observer,
    Permitter, Plugin, PublishBatchInterceptor, PublishGate, PublishInterceptor, Stopper, SubscribeInterceptor,
    TimerHandler, UnsubscribeInterceptor, WillInterceptor,
};
pub use host::Host;
pub use json::{Config, Json, JsonError};
pub use request::{
    AuthRequest, AuthorizeRequest, ConsumeBatch, EventBatch, GateBatch, Handed, Happened, PermitRequest, PublishBatch,
    PublishRequest, SubscribeRequest,
};
pub use text::{Bytes, Text};

// The contract's own types that plugins name.
pub use v1::{
    Access, Ban, Client, Consumer as Queue, Event,
    FailurePolicy, Field, Grant, Hook, HostError, HostErrorCode, HttpFetchRequest as Fetch, HttpRequest, HttpResponse,
    HttpRoute, LogLevel, Manifest, Message, Narrowed, Pair, Permission, Point, Quotas, RetainRule, StopReason,
    Subscription, TimerFired,
};

/// What an authenticated client gets.
pub type Identity = v1::AuthResult<'static>;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: alloc::Allocator = alloc::Allocator;
