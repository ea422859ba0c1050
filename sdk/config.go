package sdk

import (
	"context"
	"reflect"

	"github.com/patchbay-mq/patchbay/sdk/internal/config"
)

// Types for fields of a config; see package internal/config for the tags.
type (
	// Duration is written as "30s", "1h30m" or "7d".
	Duration = config.Duration
	// Size is written as "64KiB", "10MB" or a number of bytes.
	Size = config.Size
	// Secret is a text that never shows itself, but to Reveal.
	Secret = config.Secret
)

// NewSecret makes a Secret, for tests.
func NewSecret(s string) Secret { return config.NewSecret(s) }

// ConfigType is the type of a plugin's config, made by ConfigOf.
type ConfigType interface {
	check() error
	schema() string
	start(ctx context.Context, plugin any, h *Host, text string) error
	configure(ctx context.Context, plugin any, text string) error
	// has reports which of Starter and Configurer plugin is, for this type.
	has(plugin any) (start, configure bool)
}

// ConfigOf makes C, a struct, the type of a plugin's config: it is decoded for
// Starter[C] and Configurer[C], and its JSON Schema goes into the manifest. The tags
// beside json are doc, example, default, required, enum, min, max and secret:
//
//	Leeway sdk.Duration `json:"leeway" doc:"Clocks may differ by this." default:"30s" min:"0s"`
//
// Keys that C does not have are errors.
func ConfigOf[C any]() ConfigType { return configType[C]{} }

// ParseConfig decodes a config as the SDK does for Start. The error is a *ParseError.
func ParseConfig[C any](text string) (C, error) {
	var c C
	err := config.Decode(text, reflect.ValueOf(&c).Elem())
	return c, err
}

// ConfigSchema returns the JSON Schema (2020-12) of C.
func ConfigSchema[C any]() (string, error) {
	if err := config.Check(reflect.TypeFor[C]()); err != nil {
		return "", err
	}
	return config.Schema(reflect.TypeFor[C]()), nil
}

type configType[C any] struct{}

func (configType[C]) check() error   { return config.Check(reflect.TypeFor[C]()) }
func (configType[C]) schema() string { return config.Schema(reflect.TypeFor[C]()) }

func (configType[C]) start(ctx context.Context, plugin any, h *Host, text string) error {
	c, err := ParseConfig[C](text)
	if err != nil {
		return err
	}
	if s, ok := plugin.(Starter[C]); ok {
		return s.Start(ctx, h, c)
	}
	return nil
}

func (configType[C]) configure(ctx context.Context, plugin any, text string) error {
	c, err := ParseConfig[C](text)
	if err != nil {
		return err
	}
	if s, ok := plugin.(Configurer[C]); ok {
		return s.Configure(ctx, c)
	}
	return ErrRestart
}

func (configType[C]) has(plugin any) (start, configure bool) {
	_, start = plugin.(Starter[C])
	_, configure = plugin.(Configurer[C])
	return start, configure
}
