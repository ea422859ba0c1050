// Tests of what needs no host, run when the plugin starts.
import { equal, bytesOf, Json, Kind, Manifest, matches, parse, Plugin, register, Starter, textOf } from "patchbay";
import { below } from "patchbay/json";
import * as failure from "patchbay/failure";
import { cut } from "patchbay/verdict";
export { patchbay_abi_v1, patchbay_buffer, patchbay_call } from "patchbay/abi";

function check(ok: bool, what: string): void {
  if (!ok) throw new Error(what);
}

function json(): void {
  const v = parse(' {"a": [1, true ,null,{}], "b\\u00e4\\ud83d\\ude42\\n/~":"x", "c" : "last", "n": -12.5e1, "i": 42}\t')!;
  check(v.get("c").text() == "last" && v.length == 5, "members");
  check(v.get("bä🙂\n/~").textOr("?") == "x", "escapes");
  check(v.get("bä🙂\n/~").pointer == "/bä🙂\n~1~0", "pointers are escaped: " + v.get("bä🙂\n/~").pointer);
  check(v.at(0).length == 4 && v.at(0).at(1).flag() && v.at(0).at(2).kind == Kind.NULL, "lists");
  check(v.at(0).at(3).pointer == "/a/3", "pointers of lists");
  check(v.get("n").number() == -125 && v.get("i").integer() == 42 && v.get("none").integerOr(7) == 7, "numbers");
  check(!v.get("none").exists && below("", "a/b~") == "/a~1b~0", "pointers");
  check(failure.problems.length == 0, "no problems");
  v.get("i").text();
  v.get("n").integer();
  v.get("none").flag();
  v.only(["a", "c", "n", "i"]);
  check(failure.problems.length == 4, "problems: " + failure.problems.length.toString());
  check(failure.problems[0].pointer == "/i" && failure.problems[0].message == "must be a string", "type");
  check(failure.problems[2].pointer == "/none" && failure.problems[2].message == "is required", "required");
  const broken = [
    "", "{", "[1,]", '{"a":1,}', "{a:1}", "[1 2]", '"x', '"\\x"', '"\\u12"', "tru", "nul", "1 1", '{"a" 1}', "[", '"\x01"', '{"a":', "--1",
    "[1]]", "'a'", "01", "1.", ".5", "1e", "+1", "NaN", "[".repeat(200), '{"a":1,"a":1}', '"\\ud83d"', '"\\ude42"', '"\\ud83dx"',
  ];
  for (let i = 0; i < broken.length; i++) check(parse(broken[i]) === null, "not JSON: " + broken[i]);
  const texts = ["250ms", "30s", "1h30m", "7d", "0"];
  const times: u64[] = [250, 30_000, 5_400_000, 604_800_000, 0];
  for (let i = 0; i < texts.length; i++) check(parse('"' + texts[i] + '"')!.duration() == times[i], texts[i]);
  const before = failure.problems.length;
  const wrong = ["", "5", "s", "1h 30m", "-1s", "1x"];
  for (let i = 0; i < wrong.length; i++) parse('"' + wrong[i] + '"')!.duration();
  check(failure.problems.length == before + wrong.length, "durations that are none");
  failure.forget();
}

function topics(): void {
  const yes = ["a/b", "a/b", "#", "a", "a/#", "a", "a/#", "a/b/c", "+/b", "a/b", "+", "", "a/+", "a/", "$SYS/#", "$SYS/x", "+/+", "/"];
  for (let i = 0; i < yes.length; i += 2) check(matches(yes[i], yes[i + 1]), yes[i] + " matches " + yes[i + 1]);
  const no = ["a", "b", "a", "a/b", "a/b", "a", "a/+", "a", "+", "a/b", "#", "$SYS", "+/x", "$SYS/x", "a/#", "ab", "a/", "a"];
  for (let i = 0; i < no.length; i += 2) check(!matches(no[i], no[i + 1]), no[i] + " does not match " + no[i + 1]);
}

function bytes(): void {
  check(textOf(bytesOf("aä€🙂\0")) == "aä€🙂\0", "UTF-8 and back");
  check(equal(bytesOf("abc"), bytesOf("abc")) && !equal(bytesOf("abc"), bytesOf("abd")) && !equal(bytesOf("a"), bytesOf("")), "equal");
  check(String.UTF8.byteLength(cut("€".repeat(2000))) <= 1024 && cut("short") == "short", "cut");
}

class Units implements Plugin, Starter {
  describe(m: Manifest): void {
    m.name = "units";
  }
  start(c: Json): void {
    json();
    topics();
    bytes();
  }
}

register(new Units());
