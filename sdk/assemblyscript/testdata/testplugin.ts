// The test plugin of sdk/internal/testplugin, in AssemblyScript: what it does with an event is
// said by user names, topics and payloads.
import * as pb from "patchbay";
import { Access, Field, Message, Pair, Point, ReasonCode } from "patchbay";
import * as v1 from "patchbay/v1";
export { patchbay_abi_v1, patchbay_buffer, patchbay_call } from "patchbay/abi";

class TestPlugin
  implements
    pb.Plugin,
    pb.Starter,
    pb.Configurer,
    pb.Stopper,
    pb.Healther,
    pb.Authenticator,
    pb.Permitter,
    pb.Authorizer,
    pb.PublishInterceptor,
    pb.SubscribeInterceptor,
    pb.WillInterceptor,
    pb.PublishGate,
    pb.Observer,
    pb.Consumer,
    pb.HttpHandler,
    pb.TimerHandler
{
  private password: string = "";
  private prefix: string = "";
  private ttlMs: u64 = 0;
  /** waiting is the event that was put off, 0 for none. */
  private waiting: u64 = 0;

  describe(m: pb.Manifest): void {
    m.name = "testplugin";
    m.version = "1.2.3";
    m.description = "Tests the SDK.";
    const publish = pb.hook(Point.INTERCEPT_PUBLISH);
    publish.fields = Field.PAYLOAD | Field.PROPERTIES;
    publish.failure = pb.FailurePolicy.DROP;
    m.hooks.push(publish);
    m.hooks.push(pb.hook(Point.CONNECTED));
    m.hooks.push(pb.hook(Point.TICK));
    const all = pb.consumer("all", "#");
    all.maxAttempts = 3;
    m.consumers.push(all);
    m.httpRoutes.push(pb.route("seen", "Which clients have connected."));
    m.instances = 1;
    m.grants.push(pb.grant("publish", "Tells of clients."));
    m.grants.push(pb.grant("kv", "Remembers clients."));
    m.configSchema = `{"type":"object","properties":{"password":{"type":"string"},"prefix":{"type":"string"},"ttl":{"type":"string"}}}`;
  }

  start(c: pb.Json): void {
    this.configure(c);
    if (!pb.isRefused()) pb.host.info("started");
  }

  configure(c: pb.Json): void {
    c.only(["password", "prefix", "ttl"]);
    const password = c.get("password").text();
    const prefix = c.get("prefix").textOr("ok/");
    const ttlMs = c.get("ttl").durationOr(60_000);
    if (password == "password") pb.problem("/password", "must not be the first that everybody tries");
    if (pb.isRefused()) return;
    this.password = password;
    this.prefix = prefix;
    this.ttlMs = ttlMs;
  }

  health(h: pb.HealthResponse): void {
    if (this.prefix != "ill/") return;
    h.status = pb.HealthStatus.DEGRADED;
    h.message = "ill";
  }

  stop(reason: pb.StopReason): void {
    pb.host.info("stopped");
  }

  authenticate(r: pb.AuthRequest): pb.Decision {
    const user = r.client.username;
    if (user == "panic") throw new Error("asked for it");
    if (user == "banned") return pb.refuse(ReasonCode.BANNED, "not you");
    if (user == "fail") {
      pb.fail("asked for it");
      return pb.proceed();
    }
    if (user == "other") return pb.proceed();
    if (user == "later") {
      pb.host.setTimer("later", 1000);
      this.waiting = r.event;
      return pb.later();
    }
    if (r.packet.method == "twice") {
      if (r.packet.step == 0) {
        return pb.challenge(pb.bytesOf("say " + r.client.clientId), pb.bytesOf(r.client.clientId));
      }
      if (pb.equal(r.packet.data, r.packet.state)) return pb.accept(named("twice"));
    }
    if (r.password != this.password) return pb.refuse(ReasonCode.BAD_USER_NAME_OR_PASSWORD, "wrong password");
    const identity = new pb.Identity();
    identity.hasPermissions = true;
    const p = pb.permission(true, Access.PUBLISH | Access.SUBSCRIBE, this.prefix + "#");
    p.ttlMs = this.ttlMs;
    identity.permissions.push(p);
    identity.attributes.push(pair("instance", pb.host.started.name));
    return pb.accept(identity);
  }

  permit(r: pb.PermitRequest): pb.Decision {
    if (r.client.username == "banned") return pb.refuse(ReasonCode.BANNED, "not you");
    if (r.client.username == "fail") {
      pb.fail("asked for it");
      return pb.proceed();
    }
    for (let i = 0; i < r.client.attributes.length; i++) {
      const a = r.client.attributes[i];
      if (a.name != "group") continue;
      const p = pb.permission(true, Access.PUBLISH, a.value + "/" + r.client.username + "/#");
      p.retain = pb.RetainRule.NOT_RETAINED;
      return pb.permit([p]);
    }
    return pb.proceed();
  }

  authorize(r: pb.AuthorizeRequest): pb.Decision {
    if (r.topic.startsWith("secret/")) return pb.deny(0, "secret").cached(60_000);
    if (r.access == Access.PUBLISH && r.retain) return pb.deny(ReasonCode.QUOTA_EXCEEDED);
    return pb.allow();
  }

  publish(r: pb.PublishRequest): pb.Decision {
    const topic = r.message.topic;
    if (topic == "panic") throw new Error("asked for it");
    if (topic == "fail") pb.fail("asked for it");
    if (topic == "drop") return pb.drop("unwanted");
    if (topic == "now") return pb.deny(ReasonCode.SERVER_BUSY, "now");
    if (topic == "disconnect") return pb.disconnect(0, "go away");
    if (topic == "upper") {
      r.setPayload(pb.bytesOf(pb.textOf(r.message.payload).toUpperCase()));
      r.setContentType("text/plain");
    }
    if (topic == "twice") {
      const m = new Message();
      m.topic = "twice/again";
      m.payload = r.message.payload;
      r.add(m);
    }
    return pb.proceed();
  }

  subscribe(r: pb.SubscribeRequest): pb.Decision {
    for (let i = 0; i < r.subscriptions.length; i++) {
      const s = r.subscriptions[i];
      if (s.topicFilter == "#") r.refuse(i);
      else if (s.qos == 2) {
        s.qos = 1;
        r.replace(i, s);
      }
    }
    return pb.proceed();
  }

  will(r: pb.PublishRequest): pb.Decision {
    if (!r.message.payload.length) return pb.drop();
    r.setRetain(false);
    return pb.allow();
  }

  gate(b: pb.GateBatch): void {
    for (let i = 0; i < b.length; i++) {
      if (b.message(i).topic == "full") {
        for (let j = 0; j < b.length; j++) b.decide(j, pb.deny(ReasonCode.QUOTA_EXCEEDED, "full"));
        return;
      }
      if (b.message(i).topic == "odd") b.decide(i, pb.deny(ReasonCode.PAYLOAD_FORMAT_INVALID, "odd"));
    }
  }

  observe(b: pb.EventBatch): void {
    if (b.point != Point.CONNECTED) return;
    for (let i = 0; i < b.length; i++) {
      const c = b.client(i);
      pb.host.count("seen_total", 1, "namespace", c.namespace);
      if (!pb.host.set("seen/" + c.clientId, pb.bytesOf("1"), 3_600_000)) return pb.fail(pb.host.problem);
    }
  }

  consume(b: pb.ConsumeBatch): void {
    for (let i = 0; i < b.length; i++) {
      const wish = pb.textOf(b.message(i).payload);
      if (wish == "retry") b.retry(i, 5000, "not now");
      if (wish == "dead") b.deadLetter(i, "hopeless");
      if (wish == "ack") b.ack(i);
      if (wish == "stop") return b.stopAt(i, 0, "in order");
      if (wish == "fail") return pb.fail("asked for it");
    }
  }

  http(r: pb.HttpRequest): pb.HttpResponse {
    const response = new pb.HttpResponse();
    if (r.path != "seen") {
      response.status = 404;
      return response;
    }
    let body = "";
    const scan = new v1.KvScanRequest();
    scan.prefix = "seen/";
    scan.keysOnly = true;
    while (true) {
      const page = pb.host.callKvScan(scan);
      if (page === null) {
        response.status = 403;
        response.body = pb.bytesOf('no grant "' + pb.host.error!.grant + '"');
        return response;
      }
      for (let i = 0; i < page.entries.length; i++) {
        scan.after = page.entries[i].key;
        body += scan.after + "\n";
      }
      if (!page.more) break;
    }
    response.headers.push(pair("content-type", "text/plain"));
    response.body = pb.bytesOf(body);
    return response;
  }

  timer(t: pb.TimerFired): void {
    if (this.waiting) {
      pb.host.complete(this.waiting, pb.accept(named("late")));
      this.waiting = 0;
    }
    const m = new Message();
    m.topic = "timers/" + t.name;
    m.payload = t.data;
    if (pb.host.publish(m) === null) pb.fail(pb.host.problem);
  }
}

function named(username: string): pb.Identity {
  const identity = new pb.Identity();
  identity.username = username;
  return identity;
}

function pair(name: string, value: string): Pair {
  const p = new Pair();
  p.name = name;
  p.value = value;
  return p;
}

pb.register(new TestPlugin());
