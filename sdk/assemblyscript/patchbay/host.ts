// What a plugin may ask of the broker.
import { HostCalls } from "./host_calls";
import { describe, lastError } from "./host_call";
import * as imports from "./imports";
import { textOf } from "./bytes";
import { Decision } from "./decision";
import { putVerdict } from "./verdict";
import * as v1 from "./v1";
import * as wire from "./wire";

/**
 * Host has a method `call…` for each of the contract's service Host, and short ones for what is
 * needed often. After an error they return null or false, and `error` has it. Methods that
 * wait work in the worker instance only (`started.worker`).
 */
export class Host extends HostCalls {
  /** started is what the host said when it started the instance, without the config. */
  started: v1.StartRequest = new v1.StartRequest();

  /** error is that of the last call, null if it went well. Its code says what kind, its grant what is missing. */
  get error(): v1.HostError | null {
    return lastError;
  }

  /** problem is the error of the last call in words. */
  get problem(): string {
    const e = lastError;
    return e === null ? "" : describe(e);
  }

  /** granted is the grant of a name, null if the operator has not given it. */
  granted(name: string): v1.Grant | null {
    const grants = this.started.grants;
    for (let i = 0; i < grants.length; i++) {
      if (grants[i].name == name) return grants[i];
    }
    return null;
  }

  /** now is the time of day in milliseconds since 1970-01-01 UTC, by a coarse clock. */
  now(): i64 {
    return imports.now();
  }

  debug(text: string): void {
    this.log(v1.LogLevel.DEBUG, text);
  }
  info(text: string): void {
    this.log(v1.LogLevel.INFO, text);
  }
  warn(text: string): void {
    this.log(v1.LogLevel.WARN, text);
  }
  failure(text: string): void {
    this.log(v1.LogLevel.ERROR, text);
  }

  /** log writes a line to the broker's log. */
  log(level: v1.LogLevel, text: string): void {
    const bytes = String.UTF8.encode(text);
    imports.log(level, changetype<usize>(bytes), bytes.byteLength);
  }

  /** publish publishes a message as the plugin. Waits. Grant: publish. */
  publish(m: v1.Message): v1.PublishResult | null {
    const r = new v1.PublishRequest();
    r.messages.push(m);
    const out = this.callPublish(r);
    return out === null || !out.results.length ? null : out.results[0];
  }

  /** get reads a value of the plugin's own storage, null if there is none or after an error. Grant: kv. */
  get(key: string): Uint8Array | null {
    const r = new v1.KvGetRequest();
    r.key = key;
    const out = this.callKvGet(r);
    return out === null || !out.version ? null : out.value;
  }

  /** set stores a value for so many milliseconds, 0 for ever. Waits. Grant: kv. */
  set(key: string, value: Uint8Array, ttlMs: u64 = 0): bool {
    const r = new v1.KvSetRequest();
    r.key = key;
    r.value = value;
    r.ttlMs = ttlMs;
    return this.callKvSet(r) !== null;
  }

  /** delete removes a value, if there is one. Waits. Grant: kv. */
  delete(key: string): bool {
    const r = new v1.KvDeleteRequest();
    r.key = key;
    return this.callKvDelete(r) !== null;
  }

  /** secret gets a secret of the broker's config, null after an error. Grant: secrets, which names it. */
  secret(name: string): string | null {
    const r = new v1.SecretRequest();
    r.name = name;
    const out = this.callSecret(r);
    return out === null ? null : textOf(out.value);
  }

  /** setTimer has `timer` called after delayMs, and then every periodMs unless that is 0. Grant: timers. */
  setTimer(name: string, delayMs: u64, periodMs: u64 = 0): bool {
    const r = new v1.SetTimerRequest();
    r.name = name;
    r.delayMs = delayMs;
    r.periodMs = periodMs;
    return this.callSetTimer(r) !== null;
  }

  /** count adds to a metric, with a label unless its name is empty. Grant: metrics. */
  count(metric: string, by: f64 = 1, label: string = "", value: string = ""): bool {
    const r = new v1.MetricRequest();
    const s = new v1.Sample();
    s.name = metric;
    s.value = by;
    if (label.length) {
      const p = new v1.Pair();
      p.name = label;
      p.value = value;
      s.labels.push(p);
    }
    r.samples.push(s);
    return this.callMetric(r) !== null;
  }

  /** verifyPassword reports whether a password fits a hash; false also after an error. Waits. Grant: password. */
  verifyPassword(password: Uint8Array, hash: string): bool {
    const r = new v1.PasswordVerifyRequest();
    r.password = password;
    r.hash = hash;
    const out = this.callPasswordVerify(r);
    return out !== null && out.matches;
  }

  /** complete says what was put off with `later`: event is that of the request. */
  complete(event: u64, d: Decision): bool {
    const w = new wire.Writer();
    putVerdict(w, d);
    const verdict = new v1.Verdict();
    wire.decode<v1.Verdict>(verdict, w.copy(), w.length);
    const one = new v1.Completion();
    one.eventId = event;
    one.verdict = verdict;
    const r = new v1.CompleteRequest();
    r.completions.push(one);
    return this.callComplete(r) !== null;
  }
}

/** host is the broker. */
export const host = new Host();
