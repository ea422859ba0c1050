#ifndef PBY_JSON_H
#define PBY_JSON_H

#include "arena.h"

/* pby_json_parse with the arena to use. */
const pby_json *pby_json_parse_in(pby_arena *arena, pby_str text);

#endif
