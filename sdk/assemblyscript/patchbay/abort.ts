// What AssemblyScript calls for `throw`, a failed assert and its own checks.
import { error, log } from "./imports";
import { LogLevel } from "./v1";

// Lazy, since what aborts may come before it.
// @ts-ignore: decorator
@lazy let aborting = false;

/** abort tells the host, and its log, why the module ends. The host drops the instance and makes another. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  if (!aborting) {
    aborting = true; // what follows needs memory, and may end here again
    let text = message === null || !message.length ? "abort" : message;
    if (file !== null && file.length) text += " (" + file + ":" + line.toString() + ":" + column.toString() + ")";
    const bytes = String.UTF8.encode(text);
    log(LogLevel.ERROR, changetype<usize>(bytes), bytes.byteLength);
    error(changetype<usize>(bytes), bytes.byteLength);
  }
  unreachable();
}
