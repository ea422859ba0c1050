/* Memory that is given back in one piece. */
#ifndef PBY_ARENA_H
#define PBY_ARENA_H

#include "patchbay.h"

/* A stretch of memory with this header at its beginning. */
typedef struct pby_chunk {
    struct pby_chunk *next;
    size_t size; /* with the header */
} pby_chunk;

/* The zero value is an empty arena. */
typedef struct pby_arena {
    pby_chunk *chunks; /* the newest first: what is taken now is taken from it */
    uint8_t *at, *end;
} pby_arena;

/* Begins a new chunk for pby_take. */
void *pby_take_chunk(pby_arena *a, size_t n);

/* Takes n bytes, aligned to 8, with anything in them. Ends the instance if there is no more memory. */
static inline void *pby_take(pby_arena *a, size_t n) {
    if ((size_t)(a->end - a->at) < n) return pby_take_chunk(a, n);
    void *p = a->at;
    a->at += (n + 7) & ~(size_t)7; /* chunks end at a multiple of 8 */
    return p;
}

/* As pby_take, zeroed. */
void *pby_take_zeroed(pby_arena *a, size_t n);
/* Empties the arena and keeps one chunk of it. */
void pby_reset(pby_arena *a);

/* Chunks from which arenas and the request buffer are made. */
pby_chunk *pby_chunk_new(size_t size);
void pby_chunk_free(pby_chunk *c);

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#endif
