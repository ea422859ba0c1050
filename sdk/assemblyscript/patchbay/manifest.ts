// What a plugin says of itself, with the hooks that follow from its interfaces.
import * as plugin from "./plugin";
import { Field, Hook, HttpRoute, Grant, Consumer, Manifest, Point } from "./v1";

/** usualFields are what a point is sent if nothing else is asked for. */
export function usualFields(point: Point): u32 {
  switch (point) {
    case Point.AUTHENTICATE:
      return Field.PASSWORD;
    case Point.PERMIT:
      return Field.ATTRIBUTES | Field.CONNECTION;
    case Point.INTERCEPT_PUBLISH:
    case Point.INTERCEPT_WILL:
    case Point.INTERCEPT_DELIVER:
    case Point.GATE_PUBLISH:
      return Field.PAYLOAD;
  }
  return 0;
}

/** hook makes a Hook with the usual fields; topicFilter restricts it. */
export function hook(point: Point, topicFilter: string = ""): Hook {
  const h = new Hook();
  h.point = point;
  h.fields = usualFields(point);
  if (topicFilter.length) h.topicFilters.push(topicFilter);
  return h;
}

/** grant makes a Grant to ask for, with the reason for the operator. */
export function grant(name: string, reason: string = ""): Grant {
  const g = new Grant();
  g.name = name;
  g.reason = reason;
  return g;
}

/** consumer makes a Consumer that gets payloads too. */
export function consumer(name: string, topicFilter: string): Consumer {
  const c = new Consumer();
  c.name = name;
  c.topicFilters.push(topicFilter);
  c.fields = Field.PAYLOAD;
  return c;
}

/** route makes an HttpRoute. */
export function route(path: string, description: string = ""): HttpRoute {
  const r = new HttpRoute();
  r.path = path;
  r.description = description;
  return r;
}

const NO_CONFIG = '{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false}';

/** wrong is what keeps the manifest from being one, "" if nothing does. */
export let wrong: string = "";

/** manifestOf asks a plugin what it is, and adds what follows from its interfaces. */
export function manifestOf<T>(p: T): Manifest {
  const m = new Manifest();
  p.describe(m);
  const said = new Array<Hook>();
  for (let i = 0; i < m.hooks.length; i++) said.push(m.hooks[i]);
  m.hooks.clear();
  if (p instanceof plugin.Authenticator) add(m, said, Point.AUTHENTICATE);
  if (p instanceof plugin.Permitter) {
    add(m, said, Point.PERMIT);
    m.neededFeatures.push("permit");
  }
  if (p instanceof plugin.Authorizer) {
    add(m, said, Point.AUTHORIZE_PUBLISH);
    add(m, said, Point.AUTHORIZE_SUBSCRIBE);
  }
  if (p instanceof plugin.PublishInterceptor) add(m, said, Point.INTERCEPT_PUBLISH);
  if (p instanceof plugin.SubscribeInterceptor) add(m, said, Point.INTERCEPT_SUBSCRIBE);
  if (p instanceof plugin.UnsubscribeInterceptor) add(m, said, Point.INTERCEPT_UNSUBSCRIBE);
  if (p instanceof plugin.WillInterceptor) add(m, said, Point.INTERCEPT_WILL);
  if (p instanceof plugin.DeliverInterceptor) add(m, said, Point.INTERCEPT_DELIVER);
  if (p instanceof plugin.PublishGate) add(m, said, Point.GATE_PUBLISH);
  const authorizes = p instanceof plugin.Authorizer;
  const observes = p instanceof plugin.Observer;
  const before = m.hooks.length;
  for (let i = 0; i < said.length; i++) {
    const h = said[i];
    if (h.point == Point.AUTHORIZE_RECEIVE ? authorizes : h.point >= 24 && observes) m.hooks.push(h);
    else if (!has(m, h.point)) wrong = "describe lists point " + h.point.toString() + ", for which it has no method";
  }
  if (observes && m.hooks.length == before) wrong = "it has observe, but describe lists no point for it";
  if (p instanceof plugin.Consumer != m.consumers.length > 0) wrong = "it needs both, consume and manifest.consumers, or none";
  if (p instanceof plugin.HttpHandler != m.httpRoutes.length > 0) wrong = "it needs both, http and manifest.httpRoutes, or none";
  if (!m.configSchema.length) m.configSchema = NO_CONFIG;
  return m;
}

function has(m: Manifest, point: Point): bool {
  for (let i = 0; i < m.hooks.length; i++) {
    if (m.hooks[i].point == point) return true;
  }
  return false;
}

function add(m: Manifest, said: Hook[], point: Point): void {
  let h: Hook | null = null;
  for (let i = 0; i < said.length; i++) {
    if (said[i].point == point) h = said[i];
  }
  if (h === null) h = hook(point);
  else if (!h.fields) h.fields = usualFields(point);
  m.hooks.push(h);
}
