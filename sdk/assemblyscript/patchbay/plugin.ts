// What a plugin may be. It implements Plugin and those of the other interfaces that it
// needs; the hooks for them are asked for by themselves.
import { Decision } from "./decision";
import { Json } from "./json";
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
import { HealthResponse, HttpRequest, HttpResponse, Manifest, Narrowed, StopReason, TimerFired } from "./v1";

/** Plugin says what it is. */
export interface Plugin {
  /**
   * describe fills in the manifest: name and version; a config schema, grants, consumers, routes; and hooks
   * where they are to be other than by default, or are observations. It must not depend on anything.
   */
  describe(m: Manifest): void;
}

/** Starter is told its config before anything else. It refuses one with `problem`. */
export interface Starter {
  start(config: Json): void;
}

/**
 * Configurer takes a changed config while running. If it refuses, the old one has to stay in force; `restart`
 * has a new instance started beside this one. Plugins without it are restarted.
 */
export interface Configurer {
  configure(config: Json): void;
}

/** Narrower says, after start and configure, what it needs with its present config: true if n is less than the manifest. */
export interface Narrower {
  narrow(n: Narrowed): bool;
}

/** Stopper finishes. Nothing is called afterwards. */
export interface Stopper {
  stop(reason: StopReason): void;
}

/** Healther says about every 10 s whether the plugin can do its work. */
export interface Healther {
  health(h: HealthResponse): void;
}

/** Authenticator decides who a client is: accept, refuse, challenge, disconnect, later. */
export interface Authenticator {
  authenticate(r: AuthRequest): Decision;
}

/** Permitter says what a client that is let in may do: permit, allow (without permissions), refuse, later. */
export interface Permitter {
  permit(r: PermitRequest): Decision;
}

/**
 * Authorizer decides what a client may do, if it got no permissions: allow, deny, disconnect, later. It
 * is asked about receiving only if the manifest has that point.
 */
export interface Authorizer {
  authorize(r: AuthorizeRequest): Decision;
}

/** PublishInterceptor decides about messages on their way in, and may change them. */
export interface PublishInterceptor {
  publish(r: PublishRequest): Decision;
}

/** SubscribeInterceptor decides about SUBSCRIBE packets. */
export interface SubscribeInterceptor {
  subscribe(r: SubscribeRequest): Decision;
}

/** UnsubscribeInterceptor decides about UNSUBSCRIBE packets. */
export interface UnsubscribeInterceptor {
  unsubscribe(r: SubscribeRequest): Decision;
}

/** WillInterceptor decides about Will Messages: proceed, allow, drop, later, changed or not. */
export interface WillInterceptor {
  will(r: PublishRequest): Decision;
}

/** DeliverInterceptor decides about one receiver's copy of a message: proceed, allow, drop. It costs times the fan-out. */
export interface DeliverInterceptor {
  deliver(r: PublishRequest): Decision;
}

/** PublishGate returns when all messages of the batch are safe with the plugin; their acknowledgements wait for it. */
export interface PublishGate {
  gate(b: GateBatch): void;
}

/** Observer is told what has happened, at the points that the manifest lists. */
export interface Observer {
  observe(b: EventBatch): void;
}

/** Consumer gets the messages of manifest.consumers, each at least once. */
export interface Consumer {
  consume(b: ConsumeBatch): void;
}

/** HttpHandler serves manifest.httpRoutes. */
export interface HttpHandler {
  http(r: HttpRequest): HttpResponse;
}

/** TimerHandler is called when a timer of host.setTimer has run out. */
export interface TimerHandler {
  timer(t: TimerFired): void;
}
