// Serves a plugin: which of its methods answers what.
import { Decision, deny, drop, proceed, ReasonCode } from "./decision";
import { fail, forget, problems, restarting, takeFailure } from "./failure";
import { host } from "./host";
import * as imports from "./imports";
import { Json, parse } from "./json";
import { manifestOf, usualFields, wrong } from "./manifest";
import * as plugin from "./plugin";
import {
  AuthorizeRequest,
  AuthRequest,
  ConsumeBatch,
  EventBatch,
  GateBatch,
  PermitRequest,
  PublishRequest,
  SubscribeRequest,
} from "./requests";
import * as v1 from "./v1";
import { Action, FailurePolicy, Point } from "./v1";
import { cut, permits, putAnswer, putChanged, putFilters, reverse } from "./verdict";
import * as wire from "./wire";

/** input is where the host writes requests. */
export let input: ArrayBuffer = new ArrayBuffer(16 << 10);
/** answer is what the host reads. */
export const answer = new wire.Writer();

export function setInput(b: ArrayBuffer): void {
  input = b;
}

/** instance is the plugin, of a type that only run knows. */
let instance: usize = 0;
let run: (op: i32, size: i32) => bool = (op: i32, size: i32): bool => say("no plugin is registered");
let manifest: v1.Manifest = new v1.Manifest();

/** register makes the module serve a plugin. Call it once, at the top level of the plugin's file. */
export function register<T extends plugin.Plugin>(p: T): void {
  instance = __pin(changetype<usize>(p));
  manifest = manifestOf<T>(p);
  run = (op: i32, size: i32): bool => dispatch<T>(op, size);
}

/** serve answers a call; false is a failure. */
export function serve(op: i32, size: i32): bool {
  forget();
  answer.clear();
  if (!run(op, size)) return false;
  const text = takeFailure();
  return text === null || say(text);
}

/** say tells the host why the call fails. */
function say(text: string): bool {
  const bytes = String.UTF8.encode(cut(text));
  imports.error(changetype<usize>(bytes), bytes.byteLength);
  return false;
}

function read<M>(m: M, size: i32): bool {
  return wire.decode<M>(m, input, size) || say(wire.problem());
}

function dispatch<T>(op: i32, size: i32): bool {
  const p = changetype<T>(instance);
  switch (op) {
    case v1.PluginOp.DESCRIBE:
      if (wrong.length) return say(wrong);
      manifest.put(answer);
      return true;
    case v1.PluginOp.START:
      return start<T>(p, size);
    case v1.PluginOp.CONFIGURE:
      return configure<T>(p, size);
    case v1.PluginOp.STOP:
      if (p instanceof plugin.Stopper) {
        const m = new v1.StopRequest();
        if (!read(m, size)) return false;
        p.stop(m.reason);
      }
      return true;
    case v1.PluginOp.HEALTH:
      if (p instanceof plugin.Healther) {
        const m = new v1.HealthResponse();
        p.health(m);
        const text = takeFailure();
        if (text !== null) {
          m.status = v1.HealthStatus.NOT_SERVING;
          m.message = cut(text);
        }
        m.put(answer);
      }
      return true;
    case v1.PluginOp.PROCESS:
      batch.reset();
      return read(batch, size) && process<T>(p, batch);
    case v1.PluginOp.CONSUME:
      if (p instanceof plugin.Consumer) {
        deliveries.reset();
        if (!read(deliveries, size)) return false;
        consumed.set(deliveries);
        p.consume(consumed);
        putConsumed(consumed);
        return true;
      }
      return say("the plugin does not consume");
    case v1.PluginOp.HTTP:
      if (p instanceof plugin.HttpHandler) {
        const m = new v1.HttpRequest();
        if (!read(m, size)) return false;
        p.http(m).put(answer);
        return true;
      }
      return say("the plugin does not serve HTTP");
    case v1.PluginOp.TIMER:
      if (p instanceof plugin.TimerHandler) {
        const m = new v1.TimerFired();
        if (!read(m, size)) return false;
        p.timer(m);
        return true;
      }
      return say("the plugin has no timers");
  }
  return say("unknown op " + op.toString());
}

function start<T>(p: T, size: i32): bool {
  const m = new v1.StartRequest();
  // A copy, since the host may ask for it later.
  const source = input.slice(0, size);
  if (!wire.decode<v1.StartRequest>(m, source, size)) return say(wire.problem());
  const config = m.config;
  m.config = ""; // it may hold secrets
  host.started = m;
  const response = new v1.StartResponse();
  if (p instanceof plugin.Starter) {
    const c = parseConfig(config);
    if (c !== null) p.start(c);
  }
  for (let i = 0; i < problems.length; i++) response.problems.push(problems[i]);
  if (!problems.length) response.narrowed = narrowed<T>(p);
  response.put(answer);
  return true;
}

function configure<T>(p: T, size: i32): bool {
  const response = new v1.ConfigureResponse();
  response.restart = true;
  if (p instanceof plugin.Configurer) {
    const m = new v1.ConfigureRequest();
    if (!read(m, size)) return false;
    const c = parseConfig(m.config);
    if (c !== null) p.configure(c);
    response.restart = restarting;
    for (let i = 0; i < problems.length; i++) response.problems.push(problems[i]);
    if (!problems.length && !restarting) response.narrowed = narrowed<T>(p);
  }
  response.put(answer);
  return true;
}

/** parseConfig parses a config. The host gives what is JSON. */
function parseConfig(text: string): Json | null {
  const c = parse(text.length ? text : "{}");
  if (c === null) fail("the config is not JSON");
  return c;
}

function narrowed<T>(p: T): v1.Narrowed | null {
  if (p instanceof plugin.Narrower) {
    const n = new v1.Narrowed();
    if (!p.narrow(n)) return null;
    for (let i = 0; i < n.hooks.length; i++) {
      const h = n.hooks[i];
      if (!h.fields) h.fields = usualFields(h.point);
    }
    return n;
  }
  return null;
}

// These are used again, so that a batch takes no memory but for what the plugin reads of it.
const batch = new v1.Batch();
const deliveries = new v1.ConsumeBatch();
const authRequest = new AuthRequest();
const permitRequest = new PermitRequest();
const authorizeRequest = new AuthorizeRequest();
const publishRequest = new PublishRequest();
const subscribeRequest = new SubscribeRequest();
const gateBatch = new GateBatch();
const eventBatch = new EventBatch();
const consumed = new ConsumeBatch();

function process<T>(p: T, b: v1.Batch): bool {
  const n = b.events.length;
  begin();
  switch (b.point) {
    case Point.AUTHENTICATE:
      if (p instanceof plugin.Authenticator) {
        for (let i = 0; i < n; i++) {
          authRequest.set(b, i);
          decided(b, i, p.authenticate(authRequest));
        }
        return end(b);
      }
      break;
    case Point.PERMIT:
      if (p instanceof plugin.Permitter) {
        for (let i = 0; i < n; i++) {
          permitRequest.set(b, i);
          decided(b, i, p.permit(permitRequest));
        }
        return end(b);
      }
      break;
    case Point.AUTHORIZE_PUBLISH:
    case Point.AUTHORIZE_SUBSCRIBE:
    case Point.AUTHORIZE_RECEIVE:
      if (p instanceof plugin.Authorizer) {
        for (let i = 0; i < n; i++) {
          authorizeRequest.set(b, i);
          decided(b, i, p.authorize(authorizeRequest));
        }
        return end(b);
      }
      break;
    case Point.INTERCEPT_PUBLISH:
      if (p instanceof plugin.PublishInterceptor) {
        for (let i = 0; i < n; i++) {
          publishRequest.set(b, i);
          published(b, i, p.publish(publishRequest));
        }
        return end(b);
      }
      break;
    case Point.INTERCEPT_WILL:
      if (p instanceof plugin.WillInterceptor) {
        for (let i = 0; i < n; i++) {
          publishRequest.set(b, i);
          published(b, i, p.will(publishRequest));
        }
        return end(b);
      }
      break;
    case Point.INTERCEPT_DELIVER:
      if (p instanceof plugin.DeliverInterceptor) {
        for (let i = 0; i < n; i++) {
          publishRequest.set(b, i);
          published(b, i, p.deliver(publishRequest));
        }
        return end(b);
      }
      break;
    case Point.INTERCEPT_SUBSCRIBE:
      if (p instanceof plugin.SubscribeInterceptor) {
        for (let i = 0; i < n; i++) {
          subscribeRequest.set(b, i);
          subscribed(b, i, p.subscribe(subscribeRequest));
        }
        return end(b);
      }
      break;
    case Point.INTERCEPT_UNSUBSCRIBE:
      if (p instanceof plugin.UnsubscribeInterceptor) {
        for (let i = 0; i < n; i++) {
          subscribeRequest.set(b, i);
          subscribed(b, i, p.unsubscribe(subscribeRequest));
        }
        return end(b);
      }
      break;
    case Point.GATE_PUBLISH:
      if (p instanceof plugin.PublishGate) {
        gateBatch.set(b);
        p.gate(gateBatch);
        for (let i = 0; i < n; i++) {
          const d = gateBatch.decisions[i];
          if (d !== null) decided(b, i, d);
        }
        return end(b);
      }
      break;
    default:
      if (p instanceof plugin.Observer) {
        eventBatch.batch = b;
        p.observe(eventBatch);
        return true;
      }
  }
  return say("the plugin has no method for point " + b.point.toString());
}

/** failed are the events of a batch that have failed, failure is the first one's text, verdicts how many there are. */
let failed: i32[] = [];
let failure: string = "";
let verdicts: i32 = 0;

/** spare is what verdicts are put into the order of their events with. */
const spare = new wire.Writer();

function begin(): void {
  if (failed.length) failed = [];
  verdicts = 0;
}

/** end deals with what has failed. If all of the batch did, the host shall know. */
function end(b: v1.Batch): bool {
  const n = failed.length;
  if (n > 0) {
    if (n == b.events.length) return say(failure);
    const d = fallback(b.point);
    for (let i = 0; i < n; i++) put(failed[i], d);
    host.failure(failure);
  }
  if (verdicts > 1) reverse(answer, spare);
  return true;
}

function put(i: i32, d: Decision): void {
  if (d.action == Action.CONTINUE) return;
  verdicts++;
  putAnswer(answer, i, d);
}

/** stands reports whether a decision counts; if not, the event has failed. */
function stands(b: v1.Batch, i: i32, action: Action): bool {
  let text = takeFailure();
  if (text === null && !permits(b.point, action)) text = "this decision is not possible at this point";
  if (text === null) return true;
  if (!failed.length) failure = text;
  failed.push(i);
  return false;
}

/** fallback is the failure policy that the plugin has asked for. */
function fallback(point: Point): Decision {
  let policy: FailurePolicy = FailurePolicy.DEFAULT;
  for (let i = 0; i < manifest.hooks.length; i++) {
    if (manifest.hooks[i].point == point) policy = manifest.hooks[i].failure;
  }
  if (policy == FailurePolicy.DEFAULT) {
    switch (point) {
      case Point.AUTHENTICATE:
      case Point.PERMIT:
      case Point.AUTHORIZE_PUBLISH:
      case Point.AUTHORIZE_SUBSCRIBE:
      case Point.AUTHORIZE_RECEIVE:
      case Point.GATE_PUBLISH:
        policy = FailurePolicy.DENY;
    }
  }
  if (policy == FailurePolicy.DENY && permits(point, Action.DENY)) return deny(ReasonCode.IMPLEMENTATION_ERROR);
  const drops = policy == FailurePolicy.DENY || policy == FailurePolicy.DROP;
  if (drops && permits(point, Action.DROP)) return drop("the plugin has failed");
  return proceed();
}

function decided(b: v1.Batch, i: i32, d: Decision): void {
  if (stands(b, i, d.action)) put(i, d);
}

function published(b: v1.Batch, i: i32, d: Decision): void {
  const r = publishRequest;
  const changed = r.changed != 0 || r.additional.length > 0;
  const action: Action = changed && d.action == Action.CONTINUE ? Action.REPLACE : d.action;
  if (!stands(b, i, action)) return;
  if (!changed || !takesChanges(action)) return put(i, d);
  verdicts++;
  putChanged(answer, i, d, action, r);
}

function subscribed(b: v1.Batch, i: i32, d: Decision): void {
  const r = subscribeRequest;
  const changed = r.results.length > 0;
  const action: Action = changed && d.action == Action.CONTINUE ? Action.REPLACE : d.action;
  if (!stands(b, i, action)) return;
  if (!changed || !takesChanges(action)) return put(i, d);
  verdicts++;
  putFilters(answer, i, d, action, r);
}

function takesChanges(action: Action): bool {
  return action == Action.REPLACE || action == Action.ALLOW;
}

/** putConsumed writes what has become of a batch of a consumer. */
function putConsumed(c: ConsumeBatch): void {
  const result = new v1.ConsumeResult();
  const text = takeFailure();
  if (text !== null) result.error = cut(text);
  else if (c.length) result.acknowledgedOffset = c.at(c.length - 1).offset;
  for (let i = 0; i < c.length; i++) {
    const m = c.marks[i];
    if (m === null || (m.outcome == v1.Outcome.OK && text === null)) continue;
    m.reason = cut(m.reason);
    result.results.push(m);
  }
  result.put(answer);
}
