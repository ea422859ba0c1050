package authhttp

import (
	"testing"

	"github.com/patchbay-mq/patchbay/sdk/plugintest"
)

// BenchmarkLogin is a login that the service is asked about, on this machine.
func BenchmarkLogin(b *testing.B) { benchmarkLogin(b, "") }

// BenchmarkRememberedLogin is one whose answer is remembered.
func BenchmarkRememberedLogin(b *testing.B) { benchmarkLogin(b, `"login_cache_ttl":"1h"`) }

func benchmarkLogin(b *testing.B, more string) {
	f := newFake(b)
	f.says(200, contentJSON, `{"result":"allow","permissions":[{"allow":["all"],"topics":["dev/${client_id}/#"]}]}`)
	p := plugintest.Start(b, plugintest.Builtin(Plugin()), plugintest.NewHost(), f.config(modeNative, more, "authenticate"))
	c, a := ann(), withPassword("x")
	login(b, p, c, a)
	b.ReportAllocs()
	for b.Loop() {
		login(b, p, c, a)
	}
}
