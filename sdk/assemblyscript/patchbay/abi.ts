// The exports of a module. A plugin's own file has the line
//   export { patchbay_abi_v1, patchbay_buffer, patchbay_call } from "patchbay/abi";
// The compiler option `use` names it.
import "./abort";
import { collect } from "./gc";
import { answer, input, serve, setInput } from "./serve";

export function patchbay_abi_v1(): void {}

export function patchbay_buffer(size: i32): usize {
  if (size > input.byteLength) setInput(new ArrayBuffer(max(size, 2 * input.byteLength)));
  return changetype<usize>(input);
}

export function patchbay_call(op: i32, size: i32): i64 {
  const well = serve(op, size);
  collect(); // not the answer: the writer has it
  if (!well) return -1;
  return answer.length ? (<i64>answer.at << 32) | answer.length : 0;
}
