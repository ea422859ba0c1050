// The smallest useful plugin: it authenticates, and takes a typed config. A test looks at
// the size of its WebAssembly module.
package main

import (
	"context"

	"github.com/patchbay-mq/patchbay/sdk"
)

type config struct {
	Issuer string       `json:"issuer" required:"true" doc:"Who signs." example:"https://id.example.com"`
	Key    sdk.Secret   `json:"key"`
	Leeway sdk.Duration `json:"leeway" default:"30s" min:"0s"`
}

type plugin struct{ config config }

func (p *plugin) Start(_ context.Context, _ *sdk.Host, c config) error {
	p.config = c
	return nil
}

func (p *plugin) Authenticate(_ context.Context, r *sdk.AuthRequest) (sdk.AuthResult, error) {
	if string(r.Password) != p.config.Key.Reveal() {
		return sdk.Refuse(sdk.BadUserNameOrPassword, ""), nil
	}
	return sdk.Accept(sdk.Identity{Username: p.config.Issuer}), nil
}

func init() {
	sdk.Register(sdk.Plugin{
		Name: "auth-small", Version: "1.0.0", Config: sdk.ConfigOf[config](), New: func() any { return new(plugin) },
	})
}

func main() { sdk.Main() }
