// What a hook gets. All of it is there until the hook returns: a message or client that is
// kept would have other values then. Strings that were read of it may be kept.
import { Decision, ReasonCode } from "./decision";
import {
  Access,
  Authentication,
  Batch,
  Change,
  Client,
  ConsumeBatch as Deliveries,
  Delivery,
  DeliveryResult,
  Event,
  FilterResult,
  Message,
  Outcome,
  Pair,
  Point,
  Subscription,
} from "./v1";
import { List } from "./wire";
import { textOf } from "./bytes";

// What stands for what is absent.
const NO_CLIENT = new Client();
const NO_MESSAGE = new Message();
const NO_AUTHENTICATION = new Authentication();

/** clientOf is the n-th client, counted from 1. */
export function clientOf(list: List<Client>, n: u32): Client {
  return n == 0 || n > <u32>list.length ? NO_CLIENT : list[n - 1];
}

/** messageOf is the message of the i-th event, which may be an earlier one's. */
export function messageOf(b: Batch, i: i32): Message {
  const e = b.events[i];
  let m = e.message;
  if (m === null && e.messageOf && e.messageOf <= <u32>i) m = b.events[e.messageOf - 1].message;
  return m === null ? NO_MESSAGE : m;
}

/** AuthRequest is one step of an authentication: a CONNECT, an AUTH, or the first packet of a re-authentication. */
export class AuthRequest {
  /** event is for host.complete. */
  event: u64 = 0;
  /** client as it claims to be. */
  client: Client = NO_CLIENT;
  /** packet has password, method, data, step and state. */
  packet: Authentication = NO_AUTHENTICATION;

  /** password of the CONNECT as text. */
  get password(): string {
    return textOf(this.packet.password);
  }

  set(b: Batch, i: i32): void {
    const e = b.events[i];
    const packet = e.authentication;
    this.event = e.id;
    this.client = clientOf(b.clients, e.client);
    this.packet = packet === null ? NO_AUTHENTICATION : packet;
  }
}

/** PermitRequest asks what a client may do, as authentication has left it. */
export class PermitRequest {
  event: u64 = 0;
  client: Client = NO_CLIENT;

  set(b: Batch, i: i32): void {
    const e = b.events[i];
    this.event = e.id;
    this.client = clientOf(b.clients, e.client);
  }
}

/** AuthorizeRequest asks whether a client may do something. */
export class AuthorizeRequest {
  event: u64 = 0;
  client: Client = NO_CLIENT;
  /** access is what: PUBLISH, SUBSCRIBE or RECEIVE. */
  access: Access = Access.NONE;
  /** topic is a Topic Name, or with SUBSCRIBE a Topic Filter without $share. */
  topic: string = "";
  qos: u32 = 0;
  /** retain is the RETAIN flag, with PUBLISH. */
  retain: bool = false;
  /** message is what is to be received, with RECEIVE. */
  message: Message = NO_MESSAGE;

  set(b: Batch, i: i32): void {
    const e = b.events[i];
    this.event = e.id;
    this.client = clientOf(b.clients, e.client);
    if (b.point == Point.AUTHORIZE_RECEIVE) {
      const m = messageOf(b, i);
      this.access = Access.RECEIVE;
      this.message = m;
      this.topic = m.topic;
      this.qos = m.qos;
      this.retain = m.retain;
      return;
    }
    this.access = b.point == Point.AUTHORIZE_PUBLISH ? Access.PUBLISH : Access.SUBSCRIBE;
    this.message = NO_MESSAGE;
    this.topic = e.topic;
    this.qos = e.qos;
    this.retain = e.retain;
  }
}

/**
 * PublishRequest is a message on its way, which the plugin may change: what the set methods set
 * replaces the field, all else stays, also what the plugin does not see.
 */
export class PublishRequest {
  event: u64 = 0;
  /** client published it, or at INTERCEPT_DELIVER receives it. An empty one if there is none. */
  client: Client = NO_CLIENT;
  /** message as it came. */
  message: Message = NO_MESSAGE;

  /** changed, change and additional are what the methods below have set. */
  changed: u32 = 0;
  change: Message = new Message();
  additional: List<Message> = new List<Message>();

  set(b: Batch, i: i32): void {
    const e = b.events[i];
    this.event = e.id;
    this.client = clientOf(b.clients, e.client);
    this.message = messageOf(b, i);
    if (this.changed) this.change.reset();
    this.changed = 0;
    this.additional.clear();
  }

  /** setTopic replaces the Topic Name. */
  setTopic(topic: string): void {
    this.changed |= Change.TOPIC;
    this.change.topic = topic;
  }
  /** setPayload replaces the payload. */
  setPayload(payload: Uint8Array): void {
    this.changed |= Change.PAYLOAD;
    this.change.payload = payload;
  }
  /** setQos replaces the QoS. Not for deliver. */
  setQos(qos: u32): void {
    this.changed |= Change.QOS;
    this.change.qos = qos;
  }
  /** setRetain replaces the RETAIN flag. */
  setRetain(retain: bool): void {
    this.changed |= Change.RETAIN;
    this.change.retain = retain;
  }
  /** setMessageExpiryInterval replaces the Message Expiry Interval, in seconds; 0 takes it away. */
  setMessageExpiryInterval(seconds: u32): void {
    this.changed |= Change.MESSAGE_EXPIRY_INTERVAL;
    this.change.messageExpiryInterval = seconds;
  }
  /** setUserProperties replaces all User Properties. */
  setUserProperties(properties: Pair[]): void {
    this.changed |= Change.USER_PROPERTIES;
    this.change.userProperties.clear();
    for (let i = 0; i < properties.length; i++) this.change.userProperties.push(properties[i]);
  }
  /** setContentType replaces the Content Type; empty takes it away. */
  setContentType(contentType: string): void {
    this.changed |= Change.CONTENT_TYPE;
    this.change.contentType = contentType;
  }
  /** setResponseTopic replaces the Response Topic; empty takes it away. */
  setResponseTopic(topic: string): void {
    this.changed |= Change.RESPONSE_TOPIC;
    this.change.responseTopic = topic;
  }
  /** setCorrelationData replaces the Correlation Data; empty takes it away. */
  setCorrelationData(data: Uint8Array): void {
    this.changed |= Change.CORRELATION_DATA;
    this.change.correlationData = data;
  }
  /** setPayloadFormat replaces the Payload Format Indicator, 0 or 1. */
  setPayloadFormat(format: u32): void {
    this.changed |= Change.PAYLOAD_FORMAT;
    this.change.payloadFormat = format;
  }
  /**
   * add has a further message routed after this one, as the same client's, without asking
   * plugins about it; up to 256. Not for deliver.
   */
  add(message: Message): void {
    this.additional.push(message);
  }
}

/**
 * SubscribeRequest is a SUBSCRIBE, or an UNSUBSCRIBE whose subscriptions have the filter
 * alone. Single filters may be refused or changed.
 */
export class SubscribeRequest {
  event: u64 = 0;
  client: Client = NO_CLIENT;
  /** subscriptions in the packet's order. */
  subscriptions: List<Subscription> = new List<Subscription>();
  /** userProperties of the packet, with Field.USER_PROPERTIES. */
  userProperties: List<Pair> = new List<Pair>();
  /** results are what refuse and replace have set. */
  results: List<FilterResult> = new List<FilterResult>();

  set(b: Batch, i: i32): void {
    const e = b.events[i];
    this.event = e.id;
    this.client = clientOf(b.clients, e.client);
    this.subscriptions = e.subscriptions;
    this.userProperties = e.userProperties;
    this.results.clear();
  }

  /** refuse refuses the i-th filter; 0 stands for NOT_AUTHORIZED. */
  refuse(i: i32, reasonCode: u32 = 0): void {
    const r = new FilterResult();
    r.index = i;
    r.reasonCode = reasonCode ? reasonCode : ReasonCode.NOT_AUTHORIZED;
    this.results.push(r);
  }
  /** replace puts s in the place of the i-th subscription, whole. */
  replace(i: i32, s: Subscription): void {
    const r = new FilterResult();
    r.index = i;
    r.subscription = s;
    this.results.push(r);
  }
}

/** GateBatch is a number of messages whose acknowledgements wait. */
export class GateBatch {
  batch: Batch = new Batch();
  decisions: (Decision | null)[] = [];

  set(b: Batch): void {
    this.batch = b;
    this.decisions = new Array<Decision | null>(b.events.length);
  }

  /** length is the number of messages. */
  get length(): i32 {
    return this.batch.events.length;
  }
  /** message is the i-th one. */
  message(i: i32): Message {
    return messageOf(this.batch, i);
  }
  /** client published the i-th message. */
  client(i: i32): Client {
    return clientOf(this.batch.clients, this.batch.events[i].client);
  }
  /** event is for host.complete. */
  event(i: i32): u64 {
    return this.batch.events[i].id;
  }
  /** decide says something of the i-th message: deny, or later. Without it, it is safe when gate returns. */
  decide(i: i32, d: Decision): void {
    this.decisions[i] = d;
  }
}

/** EventBatch is a number of observations at one point. */
export class EventBatch {
  batch: Batch = new Batch();

  /** point of all events. */
  get point(): Point {
    return this.batch.point;
  }
  /** lost is how many observations of this point were dropped before this batch, because the plugin was too slow. */
  get lost(): u64 {
    return this.batch.lost;
  }
  /** length is the number of events. */
  get length(): i32 {
    return this.batch.events.length;
  }
  /** at is the i-th event. Which fields are set is said at Point. */
  at(i: i32): Event {
    return this.batch.events[i];
  }
  /** client that the i-th event is about, an empty one if there is none. */
  client(i: i32): Client {
    return clientOf(this.batch.clients, this.batch.events[i].client);
  }
  /** message that the i-th event is about, an empty one if there is none. */
  message(i: i32): Message {
    return messageOf(this.batch, i);
  }
}

/** ConsumeBatch is a number of messages of one consumer, in order. */
export class ConsumeBatch {
  batch: Deliveries = new Deliveries();
  marks: (DeliveryResult | null)[] = [];

  set(b: Deliveries): void {
    this.batch = b;
    this.marks = new Array<DeliveryResult | null>(b.deliveries.length);
  }

  /** consumer is its name in the manifest. */
  get consumer(): string {
    return this.batch.consumer;
  }
  /** length is the number of messages. */
  get length(): i32 {
    return this.batch.deliveries.length;
  }
  /** at is the i-th delivery: its offset and attempt. */
  at(i: i32): Delivery {
    return this.batch.deliveries[i];
  }
  /** message is the i-th one. */
  message(i: i32): Message {
    const m = this.batch.deliveries[i].message;
    return m === null ? NO_MESSAGE : m;
  }
  /** client published the i-th message; an empty one if that is not known. */
  client(i: i32): Client {
    return clientOf(this.batch.clients, this.batch.deliveries[i].client);
  }
  /** ack acknowledges the i-th message also if consume fails. */
  ack(i: i32): void {
    this.mark(i, Outcome.OK, 0, "");
  }
  /**
   * retry has the i-th message come again after a pause, 0 for the consumer's own. What came after
   * it in the batch and is acknowledged overtakes it.
   */
  retry(i: i32, afterMs: u32, reason: string): void {
    this.mark(i, Outcome.RETRY, afterMs, reason);
  }
  /** deadLetter gives the i-th message up. */
  deadLetter(i: i32, reason: string): void {
    this.mark(i, Outcome.DEAD_LETTER, 0, reason);
  }
  /**
   * stopAt acknowledges what comes before the i-th message, and has it and all after it come
   * again: that keeps the order.
   */
  stopAt(i: i32, afterMs: u32, reason: string): void {
    for (; i < this.length; i++) this.retry(i, afterMs, reason);
  }

  private mark(i: i32, outcome: Outcome, afterMs: u32, reason: string): void {
    const r = new DeliveryResult();
    r.offset = this.batch.deliveries[i].offset;
    r.outcome = outcome;
    r.retryAfterMs = afterMs;
    r.reason = reason;
    this.marks[i] = r;
  }
}
