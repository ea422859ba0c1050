// How calls of the host are made.
import { hostCall } from "./imports";
import { HostError, HostErrorCode, HostOp } from "./v1";
import * as wire from "./wire";

/** USUAL_RESPONSE is room for most responses, so that one call is enough. */
const USUAL_RESPONSE = 4 << 10;

const requests = new wire.Writer();

/** lastError is of the last call of the host, null if that went well. */
export let lastError: HostError | null = null;

/** call makes a call of the host; null after an error. */
export function call<Request, Response>(op: HostOp, request: Request): Response | null {
  lastError = null;
  requests.clear();
  request.put(requests);
  let out = new ArrayBuffer(USUAL_RESPONSE);
  let n = hostCall(op, requests.at, requests.length, changetype<usize>(out), USUAL_RESPONSE);
  if (n > USUAL_RESPONSE) {
    out = new ArrayBuffer(n);
    n = hostCall(HostOp.LAST_RESPONSE, 0, 0, changetype<usize>(out), n);
  }
  const response = instantiate<Response>();
  if (n >= 0 && wire.decode<Response>(response, out, n)) return response;
  lastError = n >= 0 ? errorOf(HostErrorCode.INTERNAL, wire.problem()) : hostError(n);
  return null;
}

function errorOf(code: i32, message: string): HostError {
  const e = new HostError();
  e.code = code;
  e.message = message;
  return e;
}

/** hostError gets what the host says of a call that ended with code. */
function hostError(code: i32): HostError {
  const e = new HostError();
  const out = new ArrayBuffer(USUAL_RESPONSE);
  const n = hostCall(HostOp.LAST_ERROR, 0, 0, changetype<usize>(out), USUAL_RESPONSE);
  if (n <= 0 || n > USUAL_RESPONSE || !wire.decode<HostError>(e, out, n)) return errorOf(code, "");
  e.code = code;
  return e;
}

/** describe puts an error into words. */
export function describe(e: HostError): string {
  let s = e.message.length ? e.message : "error " + e.code.toString() + " of the host";
  if (e.grant.length) s += ' (missing grant "' + e.grant + '")';
  return s;
}
