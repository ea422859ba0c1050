#include "arena.h"

/* Chunks come from whole pages of WebAssembly memory, which cannot be given back to the host; those that are not
 * used are kept here. Memory below is never touched, so that a plugin may have a malloc of its own. */
#define CHUNK_MIN 65536

static pby_chunk *unused;

#ifdef __wasm__
static void *pages(size_t size) {
    size_t at = __builtin_wasm_memory_grow(0, size / CHUNK_MIN);
    return at == (size_t)-1 ? NULL : (void *)(at * CHUNK_MIN);
}
#else
/* Outside of WebAssembly there are tests alone. */
void *malloc(size_t size);
static void *pages(size_t size) { return malloc(size); }
#endif

pby_chunk *pby_chunk_new(size_t size) {
    if (size > SIZE_MAX - CHUNK_MIN) pby_panic(PBY_STR("out of memory"));
    size = (size + CHUNK_MIN - 1) / CHUNK_MIN * CHUNK_MIN;
    for (pby_chunk **c = &unused; *c; c = &(*c)->next) {
        if ((*c)->size >= size) {
            pby_chunk *found = *c;
            *c = found->next;
            return found;
        }
    }
    pby_chunk *c = pages(size);
    if (!c) pby_panic(PBY_STR("out of memory"));
    c->size = size;
    return c;
}

void pby_chunk_free(pby_chunk *c) {
    c->next = unused;
    unused = c;
}

void *pby_take_chunk(pby_arena *a, size_t n) {
    if (n > SIZE_MAX / 2) pby_panic(PBY_STR("out of memory"));
    pby_chunk *c = pby_chunk_new(n + sizeof(pby_chunk));
    c->next = a->chunks;
    a->chunks = c;
    a->at = (uint8_t *)(c + 1);
    a->end = (uint8_t *)c + c->size;
    return pby_take(a, n);
}

void *pby_take_zeroed(pby_arena *a, size_t n) { return memset(pby_take(a, n), 0, n); }

void pby_reset(pby_arena *a) {
    if (!a->chunks) return;
    for (pby_chunk *c = a->chunks->next; c;) {
        pby_chunk *next = c->next;
        pby_chunk_free(c);
        c = next;
    }
    a->chunks->next = NULL;
    a->at = (uint8_t *)(a->chunks + 1);
}
