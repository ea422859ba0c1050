// What a hook says of its own failure, and of a config that it cannot work with.
import { Problem } from "./v1";

let said: string | null = null;

/** problems are those since the call began. */
export let problems: Problem[] = [];

/** restarting is set by restart. */
export let restarting: bool = false;

/**
 * fail says that the plugin has failed with the event, or with the call, that it is asked about; what the hook
 * returns does not count then, and the failure policy answers.
 *
 * `throw` says so too, and ends the instance: another takes its place.
 */
export function fail(text: string): void {
  if (said === null) said = text;
}

/** takeFailure returns what fail was called with, null if it was not. */
export function takeFailure(): string | null {
  const text = said;
  said = null;
  return text;
}

/**
 * problem refuses a config, in start and configure. The pointer is a JSON Pointer (RFC 6901) as
 * "/brokers/0", or empty if the config is not to blame; the text says what is wrong and what would be right.
 */
export function problem(pointer: string, text: string): void {
  const p = new Problem();
  p.pointer = pointer;
  p.message = text;
  problems.push(p);
}

/** isRefused reports whether start or configure has met a problem so far, its own or one of reading the config. */
export function isRefused(): bool {
  return problems.length > 0;
}

/** restart asks, in configure, for a new instance with the new config; this one keeps the old. */
export function restart(): void {
  restarting = true;
}

/** forget is called where a call begins. */
export function forget(): void {
  said = null;
  restarting = false;
  if (problems.length) problems = [];
}
