//go:build !linux

package bridgesql

import "testing"

func startServer(t testing.TB, kind string) *server {
	t.Skipf("%s is started on Linux only", kind)
	return nil
}

func removeFolders() {}
