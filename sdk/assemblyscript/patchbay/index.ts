// Patchbay's plugin SDK for AssemblyScript. README.md shows what a plugin looks like.
export * from "./bytes";
export * from "./decision";
export { fail, isRefused, problem, restart } from "./failure";
export { host, Host } from "./host";
export { Json, Kind, parse } from "./json";
export { consumer, grant, hook, route } from "./manifest";
export * from "./plugin";
export * from "./requests";
export { register } from "./serve";
export { matches } from "./topic";
export { List } from "./wire";
export { AuthResult as Identity } from "./v1";
export {
  Access,
  Action,
  Client,
  Event,
  FailurePolicy,
  Field,
  Grant,
  HealthResponse,
  HealthStatus,
  Hook,
  HostError,
  HostErrorCode,
  HttpRequest,
  HttpResponse,
  HttpRoute,
  LogLevel,
  Manifest,
  Message,
  Narrowed,
  Outcome,
  Pair,
  Permission,
  Point,
  RetainRule,
  StopReason,
  Subscription,
  TimerFired,
} from "./v1";
