#include "run.h"

/* What is noted while a batch is answered. */
typedef struct scratch {
    pby_event_batch events;
    pby_verdict *verdicts; /* room for one for each event, once there is one */
    size_t decided;
    uint32_t *failed; /* events whose function has failed; the same */
    size_t failures;
    pby_str failure; /* the first one's */
} scratch;

static void add(scratch *s, size_t i, const pby_verdict *v) {
    size_t n = s->events.len;
    if (!s->verdicts) s->verdicts = pby_take(pby_call_arena(), n * sizeof *v);
    pby_verdict *own = &s->verdicts[s->decided++];
    *own = *v;
    own->event = (uint32_t)i;
    own->reason = pby_cut(own->reason);
}

/* Notes the verdict that the plugin's function has returned about the i-th event. */
static void decided(scratch *s, size_t i, const pby_verdict *v) {
    pby_str why;
    if (pby_take_failure(&why)) {
        if (!s->failed) s->failed = pby_take(pby_call_arena(), s->events.len * sizeof *s->failed);
        if (s->failures == 0) s->failure = why;
        s->failed[s->failures++] = (uint32_t)i;
    } else if (v) {
        add(s, i, v);
    }
}

static bool takes_changes(const pby_verdict *v) { return v->action == PBY_ACTION_REPLACE || v->action == PBY_ACTION_ALLOW; }

/* Notes a verdict together with what has been changed of the message. */
static void published(scratch *s, size_t i, pby_verdict *v, const pby_on_publish *r) {
    pby_verdict replace = {.action = PBY_ACTION_REPLACE};
    if (r->changed == 0 && r->additional.len == 0) {
        decided(s, i, v);
        return;
    }
    if (!v) v = &replace;
    if (takes_changes(v)) {
        v->changed = r->changed;
        v->replacement = r->replacement;
        v->additional = r->additional;
    }
    decided(s, i, v);
}

static pby_on_publish publish_of(const scratch *s, size_t i) {
    return (pby_on_publish){
        .client = pby_client_at(&s->events, i), .message = pby_message_at(&s->events, i), .event_id = pby_event_at(&s->events, i)->id,
    };
}

static void ask_publish(scratch *s, pby_verdict *(*ask)(pby_on_publish *)) {
    for (size_t i = 0; i < s->events.len; i++) {
        pby_on_publish r = publish_of(s, i);
        published(s, i, ask(&r), &r);
    }
}

static bool ask_publish_batch(scratch *s) {
    size_t n = s->events.len;
    pby_publish_batch b = {pby_alloc(n * sizeof *b.at), pby_alloc(n * sizeof *b.verdicts), n};
    for (size_t i = 0; i < n; i++) b.at[i] = publish_of(s, i);
    pby_this_plugin.publish_batch(&b);
    if (pby_take_failure(&s->failure)) return false;
    for (size_t i = 0; i < n; i++) published(s, i, b.verdicts[i], &b.at[i]);
    return true;
}

static void ask_authenticate(scratch *s) {
    static const pby_authentication nothing;
    for (size_t i = 0; i < s->events.len; i++) {
        const pby_event *e = pby_event_at(&s->events, i);
        pby_on_authenticate r = {pby_client_at(&s->events, i), e->authentication ? e->authentication : &nothing, e->id};
        decided(s, i, pby_this_plugin.authenticate(&r));
    }
}

static void ask_permit(scratch *s) {
    for (size_t i = 0; i < s->events.len; i++) {
        pby_on_permit r = {pby_client_at(&s->events, i), pby_event_at(&s->events, i)->id};
        decided(s, i, pby_this_plugin.permit(&r));
    }
}

static void ask_authorize(scratch *s) {
    for (size_t i = 0; i < s->events.len; i++) {
        const pby_event *e = pby_event_at(&s->events, i);
        pby_on_authorize r = {
            .client = pby_client_at(&s->events, i), .topic = e->topic, .qos = e->qos, .retain = e->retain, .event_id = e->id,
        };
        if (s->events.point == PBY_POINT_AUTHORIZE_RECEIVE) {
            const pby_message *m = pby_message_at(&s->events, i);
            r.access = PBY_ACCESS_RECEIVE;
            r.message = m;
            r.topic = m->topic;
            r.qos = m->qos;
            r.retain = m->retain;
        } else {
            r.access = s->events.point == PBY_POINT_AUTHORIZE_PUBLISH ? PBY_ACCESS_PUBLISH : PBY_ACCESS_SUBSCRIBE;
        }
        decided(s, i, pby_this_plugin.authorize(&r));
    }
}

static void ask_subscribe(scratch *s, pby_verdict *(*ask)(pby_on_subscribe *)) {
    for (size_t i = 0; i < s->events.len; i++) {
        const pby_event *e = pby_event_at(&s->events, i);
        pby_on_subscribe r = {pby_client_at(&s->events, i), e->subscriptions, e->user_properties, e->id, {0}};
        pby_verdict replace = {.action = PBY_ACTION_REPLACE}, *v = ask(&r);
        if (r.filters.len > 0) {
            if (!v) v = &replace;
            if (takes_changes(v)) v->filters = r.filters;
        }
        decided(s, i, v);
    }
}

static bool ask_gate(scratch *s) {
    pby_verdict **each = pby_alloc(s->events.len * sizeof *each);
    pby_verdict *all = pby_this_plugin.gate(&s->events, each);
    if (pby_take_failure(&s->failure)) return false;
    bool refused = all && all->action == PBY_ACTION_DENY;
    for (size_t i = 0; i < s->events.len; i++) decided(s, i, refused ? all : each[i]);
    return true;
}

/* The verdict that the failure policy would give, for single events of a batch that have failed. */
static const pby_verdict *fallback(pby_point point) {
    static const pby_verdict deny = {.action = PBY_ACTION_DENY, .reason_code = PBY_IMPLEMENTATION_ERROR};
    static const pby_verdict drop = {.action = PBY_ACTION_DROP, .reason = {"the plugin has failed", 21}};
    pby_failure_policy policy = PBY_FAILURE_POLICY_DEFAULT;
    pby_hook_list hooks = pby_this_plugin.manifest.hooks;
    for (size_t i = 0; i < hooks.len; i++) {
        if (hooks.at[i].point == point) policy = hooks.at[i].failure;
    }
    bool asks = point == PBY_POINT_AUTHENTICATE || point == PBY_POINT_PERMIT || point == PBY_POINT_GATE_PUBLISH ||
                (point >= PBY_POINT_AUTHORIZE_PUBLISH && point <= PBY_POINT_AUTHORIZE_RECEIVE);
    if (policy == PBY_FAILURE_POLICY_DEFAULT && asks) policy = PBY_FAILURE_POLICY_DENY;
    bool only_drops = point == PBY_POINT_INTERCEPT_WILL || point == PBY_POINT_INTERCEPT_DELIVER;
    if (policy == PBY_FAILURE_POLICY_DROP || (policy == PBY_FAILURE_POLICY_DENY && only_drops)) return &drop;
    return policy == PBY_FAILURE_POLICY_DENY ? &deny : NULL;
}

/* Asks the plugin's function for the point; false if there is none, or if it fails as a whole. */
static bool ask(scratch *s) {
    const pby_plugin *p = &pby_this_plugin;
    switch (s->events.point) {
    case PBY_POINT_AUTHENTICATE: return p->authenticate && (ask_authenticate(s), true);
    case PBY_POINT_PERMIT: return p->permit && (ask_permit(s), true);
    case PBY_POINT_AUTHORIZE_PUBLISH:
    case PBY_POINT_AUTHORIZE_SUBSCRIBE:
    case PBY_POINT_AUTHORIZE_RECEIVE: return p->authorize && (ask_authorize(s), true);
    case PBY_POINT_INTERCEPT_PUBLISH:
        if (p->publish_batch) return ask_publish_batch(s);
        return p->publish && (ask_publish(s, p->publish), true);
    case PBY_POINT_INTERCEPT_SUBSCRIBE: return p->subscribe && (ask_subscribe(s, p->subscribe), true);
    case PBY_POINT_INTERCEPT_UNSUBSCRIBE: return p->unsubscribe && (ask_subscribe(s, p->unsubscribe), true);
    case PBY_POINT_INTERCEPT_WILL: return p->will && (ask_publish(s, p->will), true);
    case PBY_POINT_INTERCEPT_DELIVER: return p->deliver && (ask_publish(s, p->deliver), true);
    case PBY_POINT_GATE_PUBLISH: return p->gate && ask_gate(s);
    default:
        if (!p->observe) return false;
        p->observe(&s->events);
        return !pby_take_failure(&s->failure);
    }
}

bool pby_decide(const pby_batch *b, pby_answer *out) {
    scratch s = {.events = {b->point, b->lost, b->events.len, b}};
    if (!ask(&s)) {
        pby_fail(s.failure.len > 0 ? s.failure : PBY_STR("the plugin has no function for this point"));
        return false;
    }
    if (s.failures > 0 && s.failures == s.events.len) {
        pby_fail(s.failure);
        return false;
    }
    const pby_verdict *instead = s.failures > 0 ? fallback(b->point) : NULL;
    for (size_t i = 0; instead && i < s.failures; i++) add(&s, s.failed[i], instead);
    if (s.failures > 0) {
        pby_log(PBY_LOG_LEVEL_ERROR, PBY_JOIN(pby_decimal((int64_t)s.failures), PBY_STR(" of a batch failed: "), s.failure));
    }
    out->verdicts = (pby_verdict_list){s.verdicts, s.decided};
    return true;
}
