// The smallest useful plugin: it lets in who knows the password.
import {
  Access, accept, AuthRequest, Authenticator, Decision, Identity, Json, Manifest, permission, Plugin, ReasonCode, refuse,
  register, Starter,
} from "patchbay";
export { patchbay_abi_v1, patchbay_buffer, patchbay_call } from "patchbay/abi";

class Auth implements Plugin, Starter, Authenticator {
  private password: string = "";
  private prefix: string = "";

  describe(m: Manifest): void {
    m.name = "auth-small";
    m.version = "1.0.0";
    m.configSchema = `{"type":"object","properties":{"password":{"type":"string","writeOnly":true},"prefix":{"type":"string"}}}`;
  }

  start(config: Json): void {
    this.password = config.get("password").text();
    this.prefix = config.get("prefix").textOr("site");
  }

  authenticate(r: AuthRequest): Decision {
    if (r.password != this.password) return refuse(ReasonCode.BAD_USER_NAME_OR_PASSWORD, "wrong password");
    const identity = new Identity();
    identity.hasPermissions = true;
    identity.permissions.push(permission(true, Access.PUBLISH | Access.SUBSCRIBE, this.prefix + "/" + r.client.username + "/#"));
    return accept(identity);
  }
}

register(new Auth());
