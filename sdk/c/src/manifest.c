#include "run.h"

/* Whether the plugin has a function for the point, and which fields it gets unless its hook names others. */
static bool serves(pby_point point, uint32_t *fields) {
    const pby_plugin *p = &pby_this_plugin;
    *fields = PBY_FIELD_PAYLOAD;
    switch (point) {
    case PBY_POINT_AUTHENTICATE: *fields = PBY_FIELD_PASSWORD; return p->authenticate;
    case PBY_POINT_PERMIT: *fields = PBY_FIELD_ATTRIBUTES | PBY_FIELD_CONNECTION; return p->permit;
    case PBY_POINT_AUTHORIZE_PUBLISH:
    case PBY_POINT_AUTHORIZE_SUBSCRIBE:
    case PBY_POINT_AUTHORIZE_RECEIVE: *fields = 0; return p->authorize;
    case PBY_POINT_INTERCEPT_PUBLISH: return p->publish || p->publish_batch;
    case PBY_POINT_INTERCEPT_SUBSCRIBE: *fields = 0; return p->subscribe;
    case PBY_POINT_INTERCEPT_UNSUBSCRIBE: *fields = 0; return p->unsubscribe;
    case PBY_POINT_INTERCEPT_WILL: return p->will;
    case PBY_POINT_INTERCEPT_DELIVER: return p->deliver;
    case PBY_POINT_GATE_PUBLISH: return p->gate;
    }
    *fields = 0;
    return p->observe && point >= PBY_POINT_CONNECTED;
}

/* Points that are asked for where there is a function for them. */
static const pby_point by_default[] = {
    PBY_POINT_AUTHENTICATE, PBY_POINT_PERMIT, PBY_POINT_AUTHORIZE_PUBLISH, PBY_POINT_AUTHORIZE_SUBSCRIBE,
    PBY_POINT_INTERCEPT_PUBLISH, PBY_POINT_INTERCEPT_SUBSCRIBE, PBY_POINT_INTERCEPT_UNSUBSCRIBE, PBY_POINT_INTERCEPT_WILL,
    PBY_POINT_INTERCEPT_DELIVER, PBY_POINT_GATE_PUBLISH,
};
enum { DEFAULTS = sizeof by_default / sizeof *by_default };

pby_hook_list pby_with_fields(pby_hook_list hooks) {
    pby_hook_list out = {pby_alloc((hooks.len + DEFAULTS) * sizeof *out.at), hooks.len}; /* pby_describe adds some */
    for (size_t i = 0; i < hooks.len; i++) {
        uint32_t fields;
        out.at[i] = hooks.at[i];
        if (!serves(hooks.at[i].point, &fields)) pby_fail(PBY_STR("manifest.hooks has a point that the plugin has no function for"));
        if (out.at[i].fields == 0) out.at[i].fields = fields;
    }
    return out;
}

static bool lists(pby_hook_list hooks, pby_point point) {
    for (size_t i = 0; i < hooks.len; i++) {
        if (hooks.at[i].point == point) return true;
    }
    return false;
}

static void need_permit(pby_manifest *m) {
    static const pby_str permit = {"permit", 6};
    pby_str_list list = {pby_alloc((m->needed_features.len + 1) * sizeof *list.at), m->needed_features.len};
    for (size_t i = 0; i < list.len; i++) {
        list.at[i] = m->needed_features.at[i];
        if (pby_str_eq(list.at[i], permit)) return;
    }
    list.at[list.len++] = permit;
    m->needed_features = list;
}

void pby_describe(pby_manifest *m) {
    const pby_plugin *p = &pby_this_plugin;
    *m = p->manifest;
    m->hooks = pby_with_fields(m->hooks);
    for (size_t i = 0; i < DEFAULTS; i++) {
        uint32_t fields;
        if (!serves(by_default[i], &fields) || lists(m->hooks, by_default[i])) continue;
        m->hooks.at[m->hooks.len++] = (pby_hook){.point = by_default[i], .fields = fields};
    }
    if (p->permit) need_permit(m);
    if (!p->consume != (m->consumers.len == 0)) pby_fail(PBY_STR("a plugin needs both, consume and manifest.consumers, or none"));
    if (!p->http != (m->http_routes.len == 0)) pby_fail(PBY_STR("a plugin needs both, http and manifest.http_routes, or none"));
}
