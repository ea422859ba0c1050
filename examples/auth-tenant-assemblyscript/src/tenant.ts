// Tenants: who logs in as "user@tenant" gets the tenant's namespace, and the permissions of its role.
// README.md says how to configure it.
import {
  Access, accept, Authenticator, AuthRequest, bytesOf, Configurer, Decision, equal, fail, grant, host, Identity, isRefused, Json, Manifest, Pair,
  permission, Permission, Plugin, problem, proceed, ReasonCode, refuse, register, Starter,
} from "patchbay";
import { Quotas } from "patchbay/v1";
export { patchbay_abi_v1, patchbay_buffer, patchbay_call } from "patchbay/abi";

class Rule {
  constructor(
    public allow: bool,
    public actions: u32,
    public topic: string,
  ) {}
}

class User {
  hash: string = "";
  password: string = "";
  role: string = "";
}

class Tenant {
  namespace: string = "";
  users: Map<string, User> = new Map();
  maxSubscriptions: u32 = 0;
  publishRate: f64 = 0;
}

class Settings {
  separator: string = "@";
  roles: Map<string, Rule[]> = new Map();
  tenants: Map<string, Tenant> = new Map();
}

class AuthTenant implements Plugin, Starter, Configurer, Authenticator {
  private settings: Settings = new Settings();

  describe(m: Manifest): void {
    m.name = "auth-tenant";
    m.version = "1.0.0";
    m.description = "Tenants by user name: a namespace and permissions for each.";
    m.configSchema = SCHEMA;
    const password = grant("password", "Compares passwords with the hashes of its config.");
    password.optional = true;
    m.grants.push(password);
  }

  start(config: Json): void {
    const settings = settingsOf(config);
    if (!isRefused()) this.settings = settings;
  }

  configure(config: Json): void {
    this.start(config);
  }

  authenticate(r: AuthRequest): Decision {
    const s = this.settings;
    const at = r.client.username.lastIndexOf(s.separator);
    if (at < 0) return proceed(); // another plugin may know who that is
    const name = r.client.username.substring(0, at);
    const tenant = r.client.username.substring(at + s.separator.length);
    if (!s.tenants.has(tenant) || !s.tenants.get(tenant).users.has(name)) return refused();
    const t = s.tenants.get(tenant);
    const user = t.users.get(name);
    if (!matches(user, r)) return refused();

    const identity = new Identity();
    identity.namespace = t.namespace;
    identity.hasPermissions = true;
    const rules = s.roles.get(user.role);
    for (let i = 0; i < rules.length; i++) {
      const p = resolved(rules[i], name, tenant, r.client.clientId);
      if (p === null) return refuse(ReasonCode.NOT_AUTHORIZED, "a Client Identifier with / + or # fits no rule");
      identity.permissions.push(p);
    }
    identity.attributes.push(pair("tenant", tenant));
    identity.attributes.push(pair("role", user.role));
    if (t.maxSubscriptions || t.publishRate) {
      const quotas = new Quotas();
      quotas.maxSubscriptions = t.maxSubscriptions;
      quotas.publishRate = t.publishRate;
      identity.quotas = quotas;
    }
    return accept(identity);
  }
}

/** refused does not tell an unknown user from a wrong password. */
function refused(): Decision {
  return refuse(ReasonCode.BAD_USER_NAME_OR_PASSWORD, "user name or password is wrong");
}

function matches(user: User, r: AuthRequest): bool {
  if (!user.hash.length) return equal(r.packet.password, bytesOf(user.password));
  const ok = host.verifyPassword(r.packet.password, user.hash);
  if (host.error !== null) fail(host.problem);
  return ok;
}

/** resolved puts names into a rule's topic; null if that would make other levels or wildcards of it. */
function resolved(rule: Rule, user: string, tenant: string, clientId: string): Permission | null {
  let topic = rule.topic;
  if (topic.includes("${clientid}")) {
    if (!isLevel(clientId)) return null;
    topic = topic.replaceAll("${clientid}", clientId);
  }
  return permission(rule.allow, rule.actions, topic.replaceAll("${user}", user).replaceAll("${tenant}", tenant));
}

/** isLevel reports whether a name can stand for one level of a topic. */
function isLevel(name: string): bool {
  return name.length > 0 && !name.includes("/") && !name.includes("+") && !name.includes("#");
}

function pair(name: string, value: string): Pair {
  const p = new Pair();
  p.name = name;
  p.value = value;
  return p;
}

// Reading the config. What is wrong in it becomes a problem, which refuses it.

function settingsOf(c: Json): Settings {
  const s = new Settings();
  c.only(["separator", "roles", "tenants"]);
  s.separator = c.get("separator").textOr("@");
  if (!s.separator.length) problem("/separator", "must not be empty");
  const roles = c.get("roles").object();
  for (let i = 0; i < roles.length; i++) s.roles.set(roles.keys[i], rulesOf(roles.at(i).list()));
  const tenants = c.get("tenants").object();
  for (let i = 0; i < tenants.length; i++) {
    s.tenants.set(name(tenants.keys[i], tenants.at(i)), tenantOf(tenants.keys[i], tenants.at(i), s.roles));
  }
  return s;
}

/** name has to fit into a topic. */
function name(text: string, at: Json): string {
  if (!isLevel(text)) problem(at.pointer, "a name must not be empty, nor have / + or #");
  return text;
}

function rulesOf(c: Json): Rule[] {
  const rules: Rule[] = [];
  for (let i = 0; i < c.length; i++) {
    const r = c.at(i).object();
    r.only(["allow", "deny", "topic"]);
    const allow = r.get("allow").exists;
    if (allow == r.get("deny").exists) problem(r.pointer, "needs allow or deny");
    rules.push(new Rule(allow, actionsOf(r.get(allow ? "allow" : "deny").list()), r.get("topic").text()));
  }
  return rules;
}

function actionsOf(c: Json): u32 {
  let actions: u32 = 0;
  for (let i = 0; i < c.length; i++) {
    const action = c.at(i).text();
    if (action == "publish") actions |= Access.PUBLISH;
    else if (action == "subscribe") actions |= Access.SUBSCRIBE | Access.RECEIVE;
    else if (action == "all") actions |= Access.PUBLISH | Access.SUBSCRIBE | Access.RECEIVE;
    else problem(c.at(i).pointer, 'must be "publish", "subscribe" or "all"');
  }
  return actions;
}

function tenantOf(name_: string, c: Json, roles: Map<string, Rule[]>): Tenant {
  const t = new Tenant();
  c.object().only(["namespace", "users", "max_subscriptions", "publish_rate"]);
  t.namespace = c.get("namespace").textOr(name_);
  t.maxSubscriptions = <u32>c.get("max_subscriptions").integerOr(0);
  t.publishRate = c.get("publish_rate").numberOr(0);
  const users = c.get("users").object();
  for (let i = 0; i < users.length; i++) {
    const u = users.at(i).object();
    u.only(["password", "password_hash", "role"]);
    const user = new User();
    user.password = u.get("password").textOr("");
    user.hash = u.get("password_hash").textOr("");
    if (!user.password.length == !user.hash.length) problem(u.pointer, "needs password or password_hash");
    user.role = u.get("role").text();
    if (!roles.has(user.role)) problem(u.get("role").pointer, "is none of the roles");
    t.users.set(name(users.keys[i], u), user);
  }
  return t;
}

const SCHEMA = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "required": ["roles", "tenants"],
  "properties": {
    "separator": { "type": "string", "minLength": 1, "default": "@", "description": "Stands between user and tenant in a user name." },
    "roles": {
      "type": "object",
      "description": "Rules by role; the first that applies decides, and what none speaks of is denied.",
      "additionalProperties": {
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": false,
          "required": ["topic"],
          "properties": {
            "allow": { "$ref": "#/$defs/actions" },
            "deny": { "$ref": "#/$defs/actions" },
            "topic": { "type": "string", "description": "Topic Filter, in which \${user}, \${tenant} and \${clientid} are replaced." }
          }
        }
      }
    },
    "tenants": {
      "type": "object",
      "additionalProperties": {
        "type": "object",
        "additionalProperties": false,
        "required": ["users"],
        "properties": {
          "namespace": { "type": "string", "description": "Absent: the tenant's name." },
          "max_subscriptions": { "type": "integer", "minimum": 0, "maximum": 4294967295, "description": "Of one client." },
          "publish_rate": { "type": "number", "minimum": 0, "description": "Of one client, in messages a second." },
          "users": {
            "type": "object",
            "additionalProperties": {
              "type": "object",
              "additionalProperties": false,
              "required": ["role"],
              "properties": {
                "password": { "type": "string", "writeOnly": true },
                "password_hash": { "type": "string", "writeOnly": true, "description": "As patchbay passwd writes it; needs the grant password." },
                "role": { "type": "string" }
              }
            }
          }
        }
      }
    }
  },
  "$defs": { "actions": { "type": "array", "items": { "enum": ["publish", "subscribe", "all"] } } }
}`;

register(new AuthTenant());
