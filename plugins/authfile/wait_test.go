package authfile

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
)

// A login that waits for its turn for too long is told to come later: before the broker's
// mqtt.connect_timeout would cut it off, and before the host takes the plugin for one that
// fails. That goes for users that do not exist, too.
func TestWaitIsBounded(t *testing.T) {
	const connectTimeout = 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		p := newPlugin()
		policy, err := newPolicy(&Config{Users: []UserConfig{{Name: "ann", Hash: sdk.NewSecret(model)}}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDirectory(policy, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		p.directory.Store(d)
		p.verifier.configure(&Config{MaxQueue: 10}, func(ctx context.Context, _ []byte, _ string) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		})
		for _, name := range []string{"ann", "nobody"} {
			began := time.Now()
			got, err := p.Authenticate(t.Context(), &sdk.AuthRequest{
				Client:         &sdk.Client{Username: name},
				Authentication: &sdk.Authentication{HasUsername: true, HasPassword: true, Password: []byte("x")},
			})
			if took := time.Since(began); took != waitAtMost || took >= connectTimeout {
				t.Errorf("%s: an answer after %v", name, took)
			}
			if want := sdk.Refuse(sdk.ServerBusy, errBusy.Error()); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	})
	if d := Plugin().Hooks[0].Deadline; d < waitAtMost+time.Second {
		t.Errorf("the host waits for %v only", d)
	}
}
