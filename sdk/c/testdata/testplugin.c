/* What sdk/internal/testplugin is in Go: the tests compare the two. */
#include "patchbay.h"

static struct {
    pby_str password, prefix;
} config;

static uint64_t later; /* event whose verdict was put off */

static void take(const pby_json *json) {
    pby_str password = pby_json_str(pby_json_get(json, "password"), PBY_STR(""));
    if (pby_eq(password, "password")) {
        pby_refuse_config(pby_json_get(json, "password"), PBY_STR("must not be the first that everybody tries"));
        return;
    }
    config.password = password;
    config.prefix = pby_json_str(pby_json_get(json, "prefix"), PBY_STR("ok/"));
}

static void start(const pby_json *json) {
    take(json);
    if (!pby_config_refused()) pby_log(PBY_LOG_LEVEL_INFO, PBY_STR("started"));
}

static void stop(pby_stop_reason reason) {
    PBY_ASSERT(reason == PBY_STOP_REASON_SHUTDOWN);
    pby_log(PBY_LOG_LEVEL_INFO, PBY_STR("stopped"));
}

static void health(pby_health_response *out) {
    if (pby_eq(config.prefix, "ill/")) *out = (pby_health_response){PBY_HEALTH_STATUS_DEGRADED, PBY_STR("ill")};
}

static pby_verdict *authenticate(const pby_on_authenticate *r) {
    pby_str user = r->client->username;
    const pby_authentication *a = r->authentication;
    if (pby_eq(user, "panic")) PBY_ASSERT(!"asked for it");
    if (pby_eq(user, "fail")) return pby_fail(PBY_STR("asked for it"));
    if (pby_eq(user, "other")) return pby_continue();
    if (pby_eq(user, "banned")) return pby_refuse(PBY_BANNED, PBY_STR("not you"));
    if (pby_eq(user, "later")) {
        pby_set_timer_response out;
        if (pby_host_set_timer(&(pby_set_timer_request){.name = PBY_STR("later"), .delay_ms = 1000}, &out) < 0) {
            return pby_fail(pby_host_failure()->message);
        }
        later = r->event_id;
        return pby_defer();
    }
    bool twice = pby_eq(a->method, "twice");
    if (twice && a->step == 0) {
        return pby_challenge(pby_as_bytes(PBY_JOIN(PBY_STR("say "), r->client->client_id)), pby_as_bytes(r->client->client_id));
    }
    if (twice && pby_same_secret(a->data, a->state)) return pby_accept((pby_auth_result){.username = PBY_STR("twice")});
    if (!pby_same_secret(a->password, pby_as_bytes(config.password))) {
        return pby_refuse(PBY_BAD_USER_NAME_OR_PASSWORD, PBY_STR("wrong password"));
    }
    pby_permission permission = {
        .allow = true, .actions = PBY_ACCESS_PUBLISH | PBY_ACCESS_SUBSCRIBE, .ttl_ms = 60000,
        .topic_filter = PBY_JOIN(config.prefix, PBY_STR("#")),
    };
    pby_permission *kept = pby_alloc(sizeof *kept);
    *kept = permission;
    pby_pair *attribute = pby_alloc(sizeof *attribute);
    *attribute = (pby_pair){PBY_STR("instance"), pby_start()->name};
    return pby_accept((pby_auth_result){.has_permissions = true, .permissions = {kept, 1}, .attributes = {attribute, 1}});
}

static pby_verdict *permit(const pby_on_permit *r) {
    if (pby_eq(r->client->username, "fail")) return pby_fail(PBY_STR("asked for it"));
    if (pby_eq(r->client->username, "banned")) return pby_refuse(PBY_BANNED, PBY_STR("not you"));
    for (size_t i = 0; i < r->client->attributes.len; i++) {
        if (!pby_eq(r->client->attributes.at[i].name, "group")) continue;
        pby_permission *p = pby_alloc(sizeof *p);
        *p = (pby_permission){
            .allow = true, .actions = PBY_ACCESS_PUBLISH, .retain = PBY_RETAIN_RULE_NOT_RETAINED,
            .topic_filter = PBY_JOIN(r->client->attributes.at[i].value, PBY_STR("/"), r->client->username, PBY_STR("/#")),
        };
        return pby_permit((pby_permission_list){p, 1});
    }
    return pby_continue();
}

static pby_verdict *authorize(const pby_on_authorize *r) {
    if (pby_has_prefix(r->topic, PBY_STR("secret/"))) {
        pby_verdict *v = pby_deny(0, PBY_STR("secret"));
        v->cache_ttl_ms = 60000;
        return v;
    }
    if (r->access == PBY_ACCESS_PUBLISH && r->retain) return pby_deny(PBY_QUOTA_EXCEEDED, PBY_STR(""));
    return pby_allow();
}

static pby_verdict *publish(pby_on_publish *r) {
    pby_bytes payload = r->message->payload;
    pby_str topic = r->message->topic;
    if (pby_eq(topic, "panic")) pby_panic(PBY_STR("asked for it"));
    if (pby_eq(topic, "fail")) return pby_fail(PBY_STR("asked for it"));
    if (pby_eq(topic, "drop")) return pby_drop(PBY_STR("unwanted"));
    if (pby_eq(topic, "disconnect")) return pby_disconnect(0, PBY_STR("go away"));
    if (pby_eq(topic, "upper")) {
        uint8_t *upper = pby_alloc(payload.len);
        for (size_t i = 0; i < payload.len; i++) {
            uint8_t c = payload.at[i];
            upper[i] = c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
        }
        pby_set_payload(r, (pby_bytes){upper, payload.len});
        pby_set_content_type(r, PBY_STR("text/plain"));
    }
    if (pby_eq(topic, "twice")) pby_add(r, (pby_message){.topic = PBY_STR("twice/again"), .payload = payload});
    if (pby_eq(topic, "now")) return pby_deny(PBY_SERVER_BUSY, PBY_STR("now"));
    return pby_continue();
}

static pby_verdict *subscribe(pby_on_subscribe *r) {
    for (uint32_t i = 0; i < r->subscriptions.len; i++) {
        pby_subscription s = r->subscriptions.at[i];
        if (pby_eq(s.topic_filter, "#")) {
            pby_refuse_filter(r, i, 0);
        } else if (s.qos == 2) {
            s.qos = 1;
            pby_replace_filter(r, i, s);
        }
    }
    return pby_continue();
}

static pby_verdict *will(pby_on_publish *r) {
    if (r->message->payload.len == 0) return pby_drop(PBY_STR(""));
    pby_set_retain(r, false);
    return pby_allow();
}

static pby_verdict *gate(const pby_event_batch *b, pby_verdict **each) {
    for (size_t i = 0; i < b->len; i++) {
        pby_str topic = pby_message_at(b, i)->topic;
        if (pby_eq(topic, "full")) return pby_deny(PBY_QUOTA_EXCEEDED, PBY_STR("full"));
        if (pby_eq(topic, "odd")) each[i] = pby_deny(PBY_PAYLOAD_FORMAT_INVALID, PBY_STR("odd"));
    }
    return pby_continue();
}

static void observe(const pby_event_batch *b) {
    if (b->point != PBY_POINT_CONNECTED) return;
    for (size_t i = 0; i < b->len; i++) {
        const pby_client *c = pby_client_at(b, i);
        pby_pair label = {PBY_STR("namespace"), c->namespace};
        pby_sample sample = {.name = PBY_STR("seen_total"), .value = 1, .labels = {&label, 1}};
        pby_metric_response measured;
        pby_kv_set_response stored;
        if (pby_host_metric(&(pby_metric_request){.samples = {&sample, 1}}, &measured) < 0 ||
            pby_host_kv_set(&(pby_kv_set_request){
                .key = PBY_JOIN(PBY_STR("seen/"), c->client_id), .value = pby_as_bytes(PBY_STR("1")), .ttl_ms = 3600000,
            }, &stored) < 0) {
            pby_fail(pby_host_failure()->message);
            return;
        }
    }
}

static void consume(pby_on_consume *b) {
    for (size_t i = 0; i < b->batch->deliveries.len; i++) {
        const pby_message *m = b->batch->deliveries.at[i].message;
        pby_str what = m ? pby_as_str(m->payload) : PBY_STR("");
        if (pby_eq(what, "retry")) pby_retry(b, i, 5000, PBY_STR("not now"));
        if (pby_eq(what, "dead")) pby_dead_letter(b, i, PBY_STR("hopeless"));
        if (pby_eq(what, "ack")) pby_ack(b, i);
        if (pby_eq(what, "stop")) {
            pby_stop_at(b, i, 0, PBY_STR("in order"));
            return;
        }
        if (pby_eq(what, "fail")) {
            pby_fail(PBY_STR("asked for it"));
            return;
        }
    }
}

static void http(const pby_http_request *r, pby_http_response *out) {
    if (!pby_eq(r->path, "seen")) {
        out->status = 404;
        return;
    }
    pby_str body = PBY_STR("");
    pby_kv_scan_request ask = {.prefix = PBY_STR("seen/"), .keys_only = true};
    pby_kv_scan_response page;
    do {
        if (pby_host_kv_scan(&ask, &page) < 0) {
            *out = (pby_http_response){
                .status = 403, .body = pby_as_bytes(PBY_JOIN(PBY_STR("no grant \""), pby_host_failure()->grant, PBY_STR("\""))),
            };
            return;
        }
        for (size_t i = 0; i < page.entries.len; i++) {
            ask.after = page.entries.at[i].key;
            body = PBY_JOIN(body, ask.after, PBY_STR("\n"));
        }
    } while (page.more);
    pby_pair *header = pby_alloc(sizeof *header);
    *header = (pby_pair){PBY_STR("content-type"), PBY_STR("text/plain")};
    *out = (pby_http_response){.headers = {header, 1}, .body = pby_as_bytes(body)};
}

static void timer(const pby_timer_fired *t) {
    if (later) pby_complete(later, pby_accept((pby_auth_result){.username = PBY_STR("late")}));
    later = 0;
    pby_message m = {.topic = PBY_JOIN(PBY_STR("timers/"), t->name), .payload = t->data};
    pby_publish_response out;
    if (pby_host_publish(&(pby_publish_request){.messages = {&m, 1}}, &out) < 0) pby_fail(pby_host_failure()->message);
}

PBY_PLUGIN = {
    .manifest = {
        .name = PBY_STR("testplugin"),
        .version = PBY_STR("1.2.3"),
        .description = PBY_STR("Tests the SDK."),
        .hooks = PBY_LIST(pby_hook,
            {.point = PBY_POINT_INTERCEPT_PUBLISH, .fields = PBY_FIELD_PAYLOAD | PBY_FIELD_PROPERTIES, .failure = PBY_FAILURE_POLICY_DROP},
            {.point = PBY_POINT_CONNECTED}, {.point = PBY_POINT_TICK}),
        .consumers = PBY_LIST(pby_consumer, {
            .name = PBY_STR("all"), .topic_filters = PBY_LIST(pby_str, PBY_STR("#")), .fields = PBY_FIELD_PAYLOAD, .max_attempts = 3,
        }),
        .http_routes = PBY_LIST(pby_http_route, {.path = PBY_STR("seen"), .description = PBY_STR("Which clients have connected.")}),
        .grants = PBY_LIST(pby_grant,
            {.name = PBY_STR("publish"), .reason = PBY_STR("Tells of clients.")},
            {.name = PBY_STR("kv"), .reason = PBY_STR("Remembers clients.")}),
        .instances = 1,
    },
    .start = start,
    .configure = take,
    .stop = stop,
    .health = health,
    .authenticate = authenticate,
    .permit = permit,
    .authorize = authorize,
    .publish = publish,
    .subscribe = subscribe,
    .will = will,
    .gate = gate,
    .observe = observe,
    .consume = consume,
    .http = http,
    .timer = timer,
};
