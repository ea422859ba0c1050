/* The codec: one reader and one writer, led by the tables that sdk/proto/gen makes. */
#ifndef PBY_WIRE_H
#define PBY_WIRE_H

#include "arena.h"

/* Kinds of a field. UINT64 is int64 too: two's complement is the same. */
enum { NONE, BOOL, UINT32, UINT64, ENUM, DOUBLE, TEXT, BYTES, MESSAGE, LIST = 0x10 };

typedef struct pby_table_field {
    const struct pby_table *message; /* of MESSAGE */
    uint16_t offset;                 /* in the struct */
    uint16_t limit;                  /* of a LIST */
    uint8_t kind;
} pby_table_field;

typedef struct pby_table {
    const pby_table_field *fields; /* the one with number n is the (n-1)-th */
    uint16_t count;
    uint16_t size; /* of the struct */
} pby_table;

typedef struct pby_named_table {
    const char *name;
    const pby_table *table;
} pby_named_table;

/* Why bytes cannot be read. */
typedef enum pby_read_error { READ_OK, READ_TRUNCATED, READ_OVERFLOW, READ_TAG, READ_UTF8, READ_LIMIT } pby_read_error;

/* Reads a message into out, which it zeroes. Text and bytes point into the input, all else is in the arena. */
pby_read_error pby_read(const pby_table *t, void *out, pby_bytes in, pby_arena *arena);
/* The words for an error. */
pby_str pby_read_failure(pby_read_error e);

/* Writes a message into the arena. */
pby_bytes pby_write(const pby_table *t, const void *message, pby_arena *arena);

#endif
