//go:build linux || darwin

package broker

import "github.com/patchbay-mq/patchbay/core/transport"

func init() { drivers["portable"] = transport.Portable }
