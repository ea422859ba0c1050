// Writes verdicts.
import { Decision } from "./decision";
import { PublishRequest, SubscribeRequest } from "./requests";
import { Action, Point } from "./v1";
import * as wire from "./wire";

// Tags of fields: number << 3 | wire type.
const EVENT = (1 << 3) | 0;
const ACTION = (2 << 3) | 0;
const REASON_CODE = (3 << 3) | 0;
const REASON = (4 << 3) | 2;
const CHANGED = (5 << 3) | 0;
const REPLACEMENT = (6 << 3) | 2;
const ADDITIONAL = (7 << 3) | 2;
const FILTERS = (8 << 3) | 2;
const AUTH = (9 << 3) | 2;
const CACHE_TTL_MS = (10 << 3) | 0;
const VERDICTS = (2 << 3) | 2;

/** putVerdict writes all of a Verdict but event and changes. */
export function putVerdict(w: wire.Writer, d: Decision): void {
  w.number(CACHE_TTL_MS, d.cacheTtlMs);
  const identity = d.identity;
  if (identity !== null) {
    const end = w.length;
    identity.put(w);
    w.span(AUTH, end);
  }
  putHead(w, d, d.action);
}

function putHead(w: wire.Writer, d: Decision, action: Action): void {
  w.optionalText(REASON, cut(d.reason), 0, 0);
  w.number(REASON_CODE, d.reasonCode);
  w.number(ACTION, action);
}

/** putAnswer writes the verdict on the i-th event into an Answer. */
export function putAnswer(w: wire.Writer, i: u32, d: Decision): void {
  const end = w.length;
  putVerdict(w, d);
  w.number(EVENT, i);
  w.span(VERDICTS, end);
}

/** putChanged is putAnswer with what a hook has changed of a message. */
export function putChanged(w: wire.Writer, i: u32, d: Decision, action: Action, r: PublishRequest): void {
  const end = w.length;
  w.number(CACHE_TTL_MS, d.cacheTtlMs);
  for (let j = r.additional.length - 1; j >= 0; j--) {
    const from = w.length;
    r.additional[j].put(w);
    w.span(ADDITIONAL, from);
  }
  if (r.changed) {
    const from = w.length;
    r.change.put(w);
    w.span(REPLACEMENT, from);
    w.number(CHANGED, r.changed);
  }
  putHead(w, d, action);
  w.number(EVENT, i);
  w.span(VERDICTS, end);
}

/** putFilters is putAnswer with what a hook has decided about single Topic Filters. */
export function putFilters(w: wire.Writer, i: u32, d: Decision, action: Action, r: SubscribeRequest): void {
  const end = w.length;
  for (let j = r.results.length - 1; j >= 0; j--) {
    const from = w.length;
    r.results[j].put(w);
    w.span(FILTERS, from);
  }
  putHead(w, d, action);
  w.number(EVENT, i);
  w.span(VERDICTS, end);
}

/** reverse turns verdicts round, which were written from the end of w as they came. */
export function reverse(w: wire.Writer, spare: wire.Writer): void {
  spare.clear();
  const end = w.at + w.length;
  for (let at = w.at; at < end; at = wire.position) {
    wire.field(at, end);
    spare.bytes(at, wire.position - at);
  }
  w.swap(spare);
}

/** MAX_TEXT bounds reasons and errors, in bytes. */
const MAX_TEXT = 1024;

/** cut shortens a text to what the contract allows. */
export function cut(text: string): string {
  if (text.length <= MAX_TEXT / 3 || String.UTF8.byteLength(text) <= MAX_TEXT) return text;
  let n = min(text.length, MAX_TEXT);
  while (String.UTF8.byteLength(text.substring(0, n)) > MAX_TEXT) n -= 8;
  return text.substring(0, n);
}

/** permits reports whether a verdict at a point may have an action. */
export function permits(point: Point, action: Action): bool {
  return action >= 0 && action < 8 && (actionsOf(point) & (1 << action)) != 0;
}

function actionsOf(point: Point): u32 {
  const NEXT: u32 = 1 << Action.CONTINUE;
  const ALLOW: u32 = 1 << Action.ALLOW;
  const DENY: u32 = 1 << Action.DENY;
  const REPLACE: u32 = 1 << Action.REPLACE;
  const DROP: u32 = 1 << Action.DROP;
  const DISCONNECT: u32 = 1 << Action.DISCONNECT;
  const DEFER: u32 = 1 << Action.DEFER;
  const CHALLENGE: u32 = 1 << Action.CHALLENGE;
  switch (point) {
    case Point.AUTHENTICATE:
      return NEXT | ALLOW | DENY | CHALLENGE | DISCONNECT | DEFER;
    case Point.AUTHORIZE_PUBLISH:
    case Point.AUTHORIZE_SUBSCRIBE:
      return NEXT | ALLOW | DENY | DISCONNECT | DEFER;
    case Point.AUTHORIZE_RECEIVE:
      return NEXT | ALLOW | DENY;
    case Point.INTERCEPT_PUBLISH:
      return NEXT | ALLOW | DENY | REPLACE | DROP | DISCONNECT | DEFER;
    case Point.INTERCEPT_SUBSCRIBE:
    case Point.INTERCEPT_UNSUBSCRIBE:
      return NEXT | ALLOW | DENY | REPLACE | DISCONNECT | DEFER;
    case Point.INTERCEPT_WILL:
      return NEXT | ALLOW | REPLACE | DROP | DEFER;
    case Point.INTERCEPT_DELIVER:
      return NEXT | ALLOW | REPLACE | DROP;
    case Point.PERMIT:
    case Point.GATE_PUBLISH:
      return NEXT | ALLOW | DENY | DEFER;
  }
  return NEXT;
}
