//! auth-token: clients log in with a signed token that expires. See README.md.

mod sha256;
mod token;

use patchbay::*;

const SCHEMA: &str = include_str!("schema.json");

/// The Authentication Method by which a client with MQTT 5 may send its token, and a new one before it expires.
const METHOD: &str = "token";

struct AuthToken {
    /// The newest first; all are taken.
    keys: Vec<String>,
    leeway: i64,
}

fn configured(config: &Config) -> Result<AuthToken> {
    let mut keys = Vec::new();
    for key in config.get("keys").items()? {
        keys.push(key.str()?.to_string());
    }
    if keys.is_empty() {
        return Err(config.get("keys").problem("must name a key"));
    }
    Ok(AuthToken { keys, leeway: config.get("leeway_s").u64_or(0)? as i64 })
}

impl Plugin for AuthToken {
    fn manifest() -> Manifest<'static> {
        Manifest {
            name: "auth-token".into(),
            version: "1.0.0".into(),
            description: "Clients log in with a signed token that expires.".into(),
            config_schema: SCHEMA.into(),
            ..Default::default()
        }
    }

    fn start(_: &Host, config: &Config) -> Result<Self> {
        configured(config)
    }
}

impl Configurer for AuthToken {
    fn configure(&mut self, _: &Host, config: &Config) -> Result<()> {
        *self = configured(config)?;
        Ok(())
    }
}

fn refuse(reason: &'static str) -> Result<AuthResult> {
    Ok(AuthResult::refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD, reason))
}

impl Authenticator for AuthToken {
    fn authenticate(&mut self, host: &Host, r: &AuthRequest) -> Result<AuthResult> {
        let a = r.authentication;
        let token = match &*a.method {
            METHOD => &a.data,
            "" if a.has_password => &a.password,
            _ => return Ok(AuthResult::CONTINUE), // not for us
        };
        let claims = match token::read(token, &self.keys) {
            Ok(claims) => claims,
            Err(why) => return refuse(why),
        };
        let now = host.now_ms() / 1000;
        if now >= claims.expires.saturating_add(self.leeway) {
            return refuse("the token has expired");
        }
        if now < claims.not_before.saturating_sub(self.leeway) {
            return refuse("the token is not valid yet");
        }
        if claims.client_id.as_ref().map_or(false, |id| *id != r.client.client_id) {
            return refuse("the token is for another client id");
        }
        // A client that gives a name must not get another one from its token, nor one that the token does not vouch for.
        let username = claims.username.unwrap_or_default();
        if !r.client.username.is_empty() && r.client.username != username {
            return refuse("the token is for another user name");
        }
        let permission = |actions: Access| {
            move |filter: String| Permission {
                allow: true,
                actions: actions.0 as u32,
                topic_filter: filter.into(),
                ..Default::default()
            }
        };
        let mut permissions: Vec<_> = claims.publish.into_iter().map(permission(Access::PUBLISH)).collect();
        permissions.extend(claims.subscribe.into_iter().map(permission(Access::SUBSCRIBE)));
        Ok(AuthResult::accept(Identity {
            username: username.into(),
            namespace: claims.namespace.into(),
            has_permissions: true,
            permissions,
            expires_at_ms: claims.expires.saturating_add(self.leeway).saturating_mul(1000),
            ..Default::default()
        }))
    }
}

plugin!(AuthToken: Authenticator, Configurer);
