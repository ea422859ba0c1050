// When unused memory is given back. Plugins are compiled with the runtime "minimal", which
// collects only when it is told to: when a call has ended, and nothing is in use but what the
// plugin keeps. Modules become half as large by that, and quicker, than with the runtime
// that collects by itself, "incremental", which works too.
//
// The compiler option `use` puts this __alloc in the place of the runtime's.
import { __alloc as allocate } from "rt/tlsf";

let allocated: usize = 0;

export function __alloc(size: usize): usize {
  allocated += size;
  return allocate(size);
}

/** MIN_GARBAGE is how much is not worth collecting, in bytes. */
const MIN_GARBAGE: usize = 128 << 10;

/** collect gives unused memory back if there may be much. */
export function collect(): void {
  if (ASC_RUNTIME != 1 /* minimal */) return;
  if (allocated < max(MIN_GARBAGE, (<usize>memory.size() << 16) / 8)) return;
  allocated = 0;
  __collect();
}
