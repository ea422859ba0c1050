#include "host.h"

static pby_arena call;

/* The config in force, and the one that is being set up. */
static pby_arena configs[2];
static int in_force;
static bool setting_up;

pby_arena *pby_call_arena(void) { return &call; }
pby_arena *pby_config_arena(void) { return &configs[setting_up ? !in_force : in_force]; }

void pby_config_begin(void) {
    setting_up = true;
    pby_reset(pby_config_arena());
}

void pby_config_end(bool is_in_force) {
    setting_up = false;
    if (is_in_force) in_force = !in_force;
    pby_reset(&configs[!in_force]);
}

void *pby_alloc(size_t size) { return pby_take_zeroed(&call, size); }
void *pby_keep(size_t size) { return pby_take_zeroed(pby_config_arena(), size); }

pby_str pby_keep_str(pby_str s) { return pby_as_str(pby_keep_bytes(pby_as_bytes(s))); }

pby_bytes pby_keep_bytes(pby_bytes b) {
    uint8_t *copy = pby_take(pby_config_arena(), b.len);
    if (b.len > 0) memcpy(copy, b.at, b.len);
    return (pby_bytes){copy, b.len};
}
