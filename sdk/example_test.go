package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// prefixConfig is the config of prefix.
type prefixConfig struct {
	Prefix string       `json:"prefix" required:"true" doc:"What topics must begin with."`
	Cache  sdk.Duration `json:"cache" default:"30s" min:"0s"`
}

// prefix is a plugin that keeps clients to topics below a prefix.
type prefix struct{ config prefixConfig }

func (p *prefix) Start(_ context.Context, h *sdk.Host, c prefixConfig) error {
	p.config = c
	h.Logger().Info("started", "prefix", c.Prefix)
	return nil
}

func (p *prefix) Authorize(_ context.Context, r *sdk.AuthorizeRequest) (sdk.Decision, error) {
	if !strings.HasPrefix(r.Topic, p.config.Prefix) {
		return sdk.Deny(sdk.NotAuthorized, "outside of "+p.config.Prefix).Cached(p.config.Cache.Std()), nil
	}
	return sdk.Allow(), nil
}

// A plugin, as it is written for all three runtimes. Its main function is sdk.Main.
func Example() {
	plugin := sdk.Plugin{
		Name: "prefix", Version: "1.0.0",
		Config: sdk.ConfigOf[prefixConfig](), New: func() any { return new(prefix) },
	}
	// sdk.Register(plugin) goes into func init.
	m, err := plugin.Manifest()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, h := range m.Hooks {
		fmt.Println(h.Point)
	}
	// Output:
	// POINT_AUTHORIZE_PUBLISH
	// POINT_AUTHORIZE_SUBSCRIBE
}

// All faults of a config are told at once, each with its place.
func ExampleParseConfig() {
	_, err := sdk.ParseConfig[prefixConfig](`{"prefx": "a/", "cache": "soon"}`)
	var faults *sdk.ParseError
	if errors.As(err, &faults) {
		for _, p := range faults.Problems {
			fmt.Println(p.Pointer, p.Message)
		}
	}
	// Output:
	// /prefx unknown key "prefx", did you mean "prefix"?
	// /cache must be a duration as "30s", "1h30m" or "7d"
	// /prefix is required: What topics must begin with.
}

func ExampleConfigSchema() {
	schema, err := sdk.ConfigSchema[prefixConfig]()
	fmt.Println(err, schema[:62])
	// Output: <nil> {"$schema":"https://json-schema.org/draft/2020-12/schema","typ
}

// A decision that is put off: complete may be called from anywhere, later.
func ExampleLater() {
	ask := func(user string, answer func(ok bool)) { go answer(user == "ann") }
	r := &sdk.AuthRequest{Client: &sdk.Client{Username: "ann"}, Authentication: &sdk.Authentication{}}
	result := sdk.Later(func(complete func(sdk.AuthResult)) {
		ask(strings.Clone(r.Client.Username), func(ok bool) {
			if !ok {
				complete(sdk.Refuse(sdk.NotAuthorized, "not on the list"))
				return
			}
			complete(sdk.Accept(sdk.Identity{ExpiresAtMs: time.Now().Add(time.Hour).UnixMilli()}))
		})
	})
	fmt.Printf("%T\n", result)
	// Output: sdk.AuthResult
}
