/* Calls of the host. */
#ifndef PBY_HOST_H
#define PBY_HOST_H

#include "wire.h"

/* Makes a call: 0, or a negative code. */
int32_t pby_host_call(pby_host_op op, const pby_table *in, const void *request, const pby_table *out, void *response);

/* The arenas of memory.c: of the call, and of the config that is being set up or in force. */
pby_arena *pby_call_arena(void);
pby_arena *pby_config_arena(void);

/* A new config is set up from begin until end, which says whether it is in force from then on. */
void pby_config_begin(void);
void pby_config_end(bool in_force);

/* What is imported from the host. */
#ifdef __wasm__
#define PBY_IMPORT(function) __attribute__((import_module("patchbay_v1"), import_name(function)))
#else
#define PBY_IMPORT(function)
#endif
PBY_IMPORT("log") void pby_import_log(int32_t level, const char *at, size_t len);
PBY_IMPORT("error") void pby_import_error(const char *at, size_t len);
PBY_IMPORT("now") int64_t pby_import_now(void);
PBY_IMPORT("host_call") int32_t pby_import_host_call(int32_t op, const uint8_t *at, size_t len, uint8_t *out, size_t cap);

#endif
