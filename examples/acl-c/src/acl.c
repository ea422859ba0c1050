/* acl-c: static rules, evaluated by the broker.
 *
 * When a client is let in the plugin says what it may do (permit), once; the broker then answers for itself
 * whether a message may be published or a filter subscribed to, without calling the plugin. See README.md. */
#include "patchbay.h"

#define TEXTS {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}
#define ACTIONS {"type": "array", "minItems": 1, "items": {"enum": ["publish", "subscribe", "receive"]}}
#define TEXT_OF(...) #__VA_ARGS__
#define JSON(...) TEXT_OF(__VA_ARGS__) /* expanded first, so that the schema needs no quotes */

static const char schema[] = JSON({
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": false,
    "required": ["rules"],
    "properties": {
        "rules": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["topics"],
                "properties": {
                    "allow": ACTIONS,
                    "deny": ACTIONS,
                    "topics": TEXTS,
                    "users": TEXTS,
                    "groups": TEXTS,
                    "clients": TEXTS
                }
            }
        }
    }
});

typedef struct rule {
    bool allow;
    uint32_t actions;
    const pby_json *topics, *users, *groups, *clients; /* NULL: not given */
} rule;

static struct {
    rule *at;
    size_t len;
} rules;

/* ---- Config ---- */

static uint32_t actions_of(const pby_json *list) {
    uint32_t mask = 0;
    for (const pby_json *a = list ? list->first : NULL; a; a = a->next) {
        if (pby_eq(a->text, "publish")) mask |= PBY_ACCESS_PUBLISH;
        if (pby_eq(a->text, "subscribe")) mask |= PBY_ACCESS_SUBSCRIBE;
        if (pby_eq(a->text, "receive")) mask |= PBY_ACCESS_RECEIVE;
    }
    return mask;
}

/* A placeholder is $ with a name in braces. Returns its length at s, 0 if there is none. */
static size_t placeholder(pby_str s, const pby_client *c, pby_str *value) {
    static const pby_str username = {"${username}", 11}, client_id = {"${client_id}", 12};
    bool by_name = pby_has_prefix(s, username);
    if (!by_name && !pby_has_prefix(s, client_id)) return 0;
    if (c) *value = by_name ? c->username : c->client_id;
    return by_name ? username.len : client_id.len;
}

static void check_topic(const pby_json *topic) {
    for (pby_str s = topic->text; s.len > 0; s.at++, s.len--) {
        if (pby_has_prefix(s, PBY_STR("${")) && placeholder(s, NULL, NULL) == 0) {
            pby_refuse_config(topic, PBY_STR("the placeholders are ${username} and ${client_id}"));
            return;
        }
    }
}

static void configure(const pby_json *config) {
    const pby_json *list = pby_json_get(config, "rules");
    size_t len = 0;
    for (const pby_json *r = list->first; r; r = r->next) len++;
    rule *at = pby_keep(len * sizeof *at), *next = at;
    for (const pby_json *r = list->first; r; r = r->next, next++) {
        const pby_json *allow = pby_json_get(r, "allow"), *deny = pby_json_get(r, "deny");
        if (!allow == !deny) pby_refuse_config(r, PBY_STR("a rule has either allow or deny"));
        *next = (rule){
            .allow = allow, .actions = actions_of(allow ? allow : deny), .topics = pby_json_get(r, "topics"),
            .users = pby_json_get(r, "users"), .groups = pby_json_get(r, "groups"), .clients = pby_json_get(r, "clients"),
        };
        for (const pby_json *t = next->topics->first; t; t = t->next) check_topic(t);
    }
    if (pby_config_refused()) return; /* the rules before stay */
    rules.at = at;
    rules.len = len;
}

/* ---- Who a rule is about ---- */

static bool among(const pby_json *list, pby_str name) {
    for (const pby_json *one = list->first; one; one = one->next) {
        if (pby_str_eq(one->text, name)) return true;
    }
    return false;
}

/* The plugin that has authenticated the client names its groups in the attribute "groups", with commas between. */
static bool in_group(const pby_json *list, const pby_client *c) {
    for (size_t i = 0; i < c->attributes.len; i++) {
        pby_str rest = c->attributes.at[i].value;
        if (!pby_eq(c->attributes.at[i].name, "groups")) continue;
        while (rest.len > 0) {
            size_t n = 0;
            while (n < rest.len && rest.at[n] != ',') n++;
            if (among(list, (pby_str){rest.at, n})) return true;
            n += n < rest.len;
            rest = (pby_str){rest.at + n, rest.len - n};
        }
    }
    return false;
}

static bool is_about(const rule *r, const pby_client *c) {
    return (!r->users || among(r->users, c->username)) && (!r->clients || among(r->clients, c->client_id)) &&
           (!r->groups || in_group(r->groups, c));
}

/* ---- Topics ---- */

/* Clients choose their ids: one named "#" must not get a wider filter than the others. */
static bool is_plain(pby_str s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == '+' || s.at[i] == '#' || s.at[i] == '/' || s.at[i] == 0) return false;
    }
    return s.len > 0 && s.at[0] != '$';
}

/* Puts the client's values in the place of placeholders; false if one cannot stand in a Topic Filter. */
static bool resolve(pby_str topic, const pby_client *c, pby_str *out) {
    size_t room = topic.len + topic.len / 11 * (c->username.len + c->client_id.len), len = 0;
    char *at = pby_alloc(room);
    for (size_t i = 0; i < topic.len;) {
        pby_str value = {topic.at + i, 1};
        size_t n = placeholder((pby_str){topic.at + i, topic.len - i}, c, &value);
        if (n > 0 && !is_plain(value)) return false;
        for (size_t j = 0; j < value.len; j++) at[len++] = value.at[j];
        i += n > 0 ? n : 1;
    }
    *out = (pby_str){at, len};
    return true;
}

static pby_verdict *permit(const pby_on_permit *r) {
    pby_permission_list all = {0};
    size_t most = 0;
    for (const rule *one = rules.at; one < rules.at + rules.len; one++) {
        for (const pby_json *t = one->topics->first; t; t = t->next) most++;
    }
    all.at = pby_alloc(most * sizeof *all.at);
    for (const rule *one = rules.at; one < rules.at + rules.len; one++) {
        if (!is_about(one, r->client)) continue;
        for (const pby_json *t = one->topics->first; t; t = t->next) {
            pby_permission p = {.allow = one->allow, .actions = one->actions};
            if (resolve(t->text, r->client, &p.topic_filter)) {
                all.at[all.len++] = p;
            } else if (!one->allow) {
                /* Without the rule it would be let into what the rule keeps others out of. */
                return pby_refuse(PBY_NOT_AUTHORIZED, PBY_STR("a rule that denies cannot be applied to this name"));
            }
        }
    }
    return pby_permit(all);
}

PBY_PLUGIN = {
    .manifest = {
        .name = PBY_STR("acl-c"),
        .version = PBY_STR("1.0.0"),
        .description = PBY_STR("Static rules by user, group and client id."),
        .config_schema = PBY_STR(schema),
    },
    .start = configure,
    .configure = configure,
    .permit = permit,
};
