/* What runs the plugin's functions: run.c the calls, decide.c the batches, manifest.c the manifest. */
#ifndef PBY_RUN_H
#define PBY_RUN_H

#include "host.h"
#include "v1.h"

/* Whether the plugin's function has failed since the last time that this was asked; why says what for. */
bool pby_take_failure(pby_str *why);

/* Answers a batch; false if it fails as a whole. */
bool pby_decide(const pby_batch *b, pby_answer *out);

/* Fills in the manifest; calls pby_fail if it contradicts the plugin's functions. */
void pby_describe(pby_manifest *out);
/* Puts the default fields into hooks that name none. */
pby_hook_list pby_with_fields(pby_hook_list hooks);

/* Cuts a text to the 1,024 bytes that reasons and errors may have, between two characters. */
pby_str pby_cut(pby_str s);

#endif
