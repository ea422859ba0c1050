// Refuses messages outside of a prefix, and drops empty ones: what is measured.
import { Decision, deny, drop, Manifest, Plugin, proceed, PublishInterceptor, PublishRequest, ReasonCode, register } from "patchbay";
export { patchbay_abi_v1, patchbay_buffer, patchbay_call } from "patchbay/abi";

class Prefix implements Plugin, PublishInterceptor {
  describe(m: Manifest): void {
    m.name = "prefix";
  }

  publish(r: PublishRequest): Decision {
    if (!r.message.topic.startsWith("a/")) return deny(ReasonCode.TOPIC_NAME_INVALID, "outside of a/");
    return r.message.payload.length ? proceed() : drop("empty");
  }
}

register(new Prefix());
