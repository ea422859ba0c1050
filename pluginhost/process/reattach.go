package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// ReattachEnv is the environment variable of the broker that ParseReattach reads.
const ReattachEnv = "PATCHBAY_REATTACH_PLUGINS"

// Reattach is a plugin that runs already, under a debugger. Start it with PATCHBAY_PLUGIN=patchbay.plugin.v1
// in its environment: the line that it prints has its address. It can be used once; after that it has to be started again.
type Reattach struct {
	// Protocol is "grpc", which is also meant by nothing.
	Protocol string `json:"protocol"`
	// PID of the process, to see when it ends.
	PID int `json:"pid"`
	// Addr where it listens.
	Addr Addr `json:"addr"`
}

// Addr is the third and fourth field of the line that a plugin prints.
type Addr struct {
	Network string `json:"network"` // "unix", or "tcp"
	String  string `json:"string"`
}

// ParseReattach reads the value of ReattachEnv: plugins by the names under which they are configured, as
//
//	{"auth": {"protocol": "grpc", "pid": 4711, "addr": {"network": "unix", "string": "/tmp/plugin123"}}}
//
// An empty value has none.
func ParseReattach(value string) (map[string]Reattach, error) {
	if value == "" {
		return nil, nil
	}
	var plugins map[string]Reattach
	d := json.NewDecoder(bytes.NewReader([]byte(value)))
	d.DisallowUnknownFields()
	if err := d.Decode(&plugins); err != nil {
		return nil, fmt.Errorf("%s: %w", ReattachEnv, err)
	}
	if d.More() {
		return nil, fmt.Errorf("%s: there is more after the object", ReattachEnv)
	}
	for name, r := range plugins {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", ReattachEnv, name, err)
		}
	}
	return plugins, nil
}

func (r *Reattach) check() error {
	if r.Protocol != "" && r.Protocol != "grpc" {
		return fmt.Errorf("protocol is %q; only \"grpc\" is possible", r.Protocol)
	}
	if r.PID <= 0 {
		return errors.New("pid is missing")
	}
	_, err := r.Addr.resolve()
	return err
}

func (a Addr) resolve() (net.Addr, error) {
	if a.String == "" {
		return nil, errors.New("addr.string is missing")
	}
	switch a.Network {
	case "unix":
		return net.ResolveUnixAddr("unix", a.String)
	case "tcp":
		return net.ResolveTCPAddr("tcp", a.String)
	}
	return nil, fmt.Errorf("addr.network is %q; \"unix\" and \"tcp\" are possible", a.Network)
}
