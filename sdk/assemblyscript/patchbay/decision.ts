// What a hook answers.
import { Action, AuthResult, Permission } from "./v1";

/** ReasonCode has the Reason Codes of MQTT 5.0 (§2.4) that plugins give. */
export const enum ReasonCode {
  UNSPECIFIED_ERROR = 0x80,
  IMPLEMENTATION_ERROR = 0x83,
  BAD_USER_NAME_OR_PASSWORD = 0x86,
  NOT_AUTHORIZED = 0x87,
  SERVER_UNAVAILABLE = 0x88,
  SERVER_BUSY = 0x89,
  BANNED = 0x8a,
  BAD_AUTH_METHOD = 0x8c,
  TOPIC_FILTER_INVALID = 0x8f,
  TOPIC_NAME_INVALID = 0x90,
  PACKET_TOO_LARGE = 0x95,
  MESSAGE_RATE_TOO_HIGH = 0x96,
  QUOTA_EXCEEDED = 0x97,
  ADMINISTRATIVE_ACTION = 0x98,
  PAYLOAD_FORMAT_INVALID = 0x99,
}

/**
 * Decision is a plugin's verdict on an event. Which ones a point has is said at Point;
 * another one counts as a failure of the plugin.
 */
export class Decision {
  /** identity goes with ALLOW and CHALLENGE of authenticate and permit. */
  identity: AuthResult | null = null;
  cacheTtlMs: u32 = 0;

  constructor(
    public action: Action = Action.CONTINUE,
    public reasonCode: u32 = 0,
    public reason: string = "",
  ) {}

  /**
   * cached lets the host give the same answer to the same question for a while without asking.
   * For authorize; host.callInvalidateDecisions takes it back.
   */
  cached(ttlMs: u32): Decision {
    const d = new Decision(this.action, this.reasonCode, this.reason);
    d.cacheTtlMs = ttlMs;
    return d;
  }
}

const PROCEED = new Decision();
const ALLOW = new Decision(Action.ALLOW);
const LATER = new Decision(Action.DEFER);

/** proceed leaves it to the next plugin, with the changes made to the request (ACTION_CONTINUE). */
export function proceed(): Decision {
  return PROCEED;
}

/** allow says yes; no further plugin is asked. Changes made to the request count. */
export function allow(): Decision {
  return ALLOW;
}

/**
 * later puts a decision off: the plugin says it with host.complete and the `event` of the
 * request, from another call (as timer), within the deadline of the hook. The
 * connection stays paused until then. Changes made to the request are lost.
 */
export function later(): Decision {
  return LATER;
}

/**
 * deny refuses, with a Reason Code (0 stands for NOT_AUTHORIZED) and a reason in words for logs and for
 * clients that want it.
 */
export function deny(reasonCode: u32 = 0, reason: string = ""): Decision {
  return new Decision(Action.DENY, reasonCode, reason);
}

/** drop acknowledges a message and goes no further with it. The reason is for logs. */
export function drop(reason: string = ""): Decision {
  return new Decision(Action.DROP, 0, reason);
}

/** disconnect closes the client's connection; 0 stands for ADMINISTRATIVE_ACTION. */
export function disconnect(reasonCode: u32 = 0, reason: string = ""): Decision {
  return new Decision(Action.DISCONNECT, reasonCode, reason);
}

/**
 * accept lets a client in, as identity says. With hasPermissions the broker evaluates its permissions by
 * itself, which is what scales.
 */
export function accept(identity: AuthResult = new AuthResult()): Decision {
  const d = new Decision(Action.ALLOW);
  d.identity = identity;
  return d;
}

/**
 * permit gives a client permissions, and no others: the first that applies decides, and what
 * none speaks of is denied. For permit; authenticate has accept.
 */
export function permit(permissions: Permission[]): Decision {
  const identity = new AuthResult();
  identity.hasPermissions = true;
  for (let i = 0; i < permissions.length; i++) identity.permissions.push(permissions[i]);
  return accept(identity);
}

/** permission makes a Permission; actions is a sum of Access. */
export function permission(allow: bool, actions: u32, topicFilter: string): Permission {
  const p = new Permission();
  p.allow = allow;
  p.actions = actions;
  p.topicFilter = topicFilter;
  return p;
}

/** refuse keeps a client out; 0 stands for NOT_AUTHORIZED. */
export function refuse(reasonCode: u32 = 0, reason: string = ""): Decision {
  return deny(reasonCode, reason);
}

/** challenge sends data in an AUTH. The client's answer comes to this plugin alone, with state. */
export function challenge(data: Uint8Array, state: Uint8Array): Decision {
  const d = new Decision(Action.CHALLENGE);
  const identity = new AuthResult();
  identity.data = data;
  identity.state = state;
  d.identity = identity;
  return d;
}
