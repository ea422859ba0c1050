// Package devices is a plugin that lets devices in by a password that is made of their
// Client Identifier and a key that only the operator knows, and keeps each of them to
// topics of its own. See the README beside it; cmd/auth-devices makes it a program and
// a WebAssembly module.
package devices

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// Config is what the operator says.
type Config struct {
	Key      sdk.Secret   `json:"key" required:"true" min:"16" doc:"What passwords are made with: hex(HMAC-SHA-256(key, client id))."`
	Operator string       `json:"operator" default:"operator" doc:"A user name that may do everything; its password is made of the user name."`
	Cache    sdk.Duration `json:"cache" default:"1m" min:"0s" max:"1h" doc:"How long the broker may reuse an answer."`
}

// Plugin is what the plugin says of itself.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name: "auth-devices", Version: "1.0.0", Author: "Patchbay",
		Description: "Devices log in with an HMAC of their client id and have topics of their own.",
		Config:      sdk.ConfigOf[Config](), New: func() any { return new(plugin) },
		// A process answers in well under a millisecond; on a busy machine it may wait for
		// its turn, and that is no reason to turn a device away.
		Hooks: []sdk.Hook{
			{Point: sdk.PointAuthorizePublish, Deadline: time.Second}, {Point: sdk.PointAuthorizeSubscribe, Deadline: time.Second},
		},
	}
}

type plugin struct{ config Config }

// Start gets the config, which fits its schema.
func (p *plugin) Start(_ context.Context, _ *sdk.Host, c Config) error {
	p.config = c
	return nil
}

// Password is the password of a device, or of the operator.
func Password(key, name string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(name))
	return hex.EncodeToString(mac.Sum(nil))
}

// Authenticate checks the password.
func (p *plugin) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	name := r.Client.ClientID
	if r.Client.Username == p.config.Operator {
		name = r.Client.Username
	}
	switch {
	case name == "":
		return sdk.Refuse(sdk.NotAuthorized, "a device needs a client id"), nil
	case !hmac.Equal([]byte(Password(p.config.Key.Reveal(), name)), r.Password):
		return sdk.Refuse(sdk.BadUserNameOrPassword, "wrong password"), nil
	}
	return sdk.Accept(sdk.Identity{}), nil
}

// Authorize keeps a device to the topics below devices/ID/ and to the commands for it.
func (p *plugin) Authorize(_ context.Context, r *sdk.AuthorizeRequest) (sdk.Decision, error) {
	if r.Client.Username == p.config.Operator || p.allowed(r) {
		return sdk.Allow().Cached(p.config.Cache.Std()), nil
	}
	return sdk.Deny(sdk.NotAuthorized, "not a topic of "+r.Client.ClientID).Cached(p.config.Cache.Std()), nil
}

func (p *plugin) allowed(r *sdk.AuthorizeRequest) bool {
	id := r.Client.ClientID
	if strings.ContainsAny(id, "/+#") {
		return false // such an id would reach into the topics of others
	}
	switch {
	case strings.HasPrefix(r.Topic, "devices/"+id+"/"):
		return true
	case r.Access == sdk.AccessSubscribe:
		return r.Topic == "commands/all" || r.Topic == "commands/"+id || strings.HasPrefix(r.Topic, "commands/"+id+"/")
	case r.Topic == "status/"+id:
		return r.Retain && r.QoS > 0
	}
	return false
}
