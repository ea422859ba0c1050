package bridgewebhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/patchbay-mq/patchbay/plugins/internal/bridgetest"
)

// serve is a program, the other side: an HTTP server at args[0] that appends what it gets
// to the file args[1], and answers when that is on disk.
func serve(args []string) error {
	f, err := os.OpenFile(args[1], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString("\n"); err != nil { // behind what a kill has left unfinished
		return err
	}
	var mu sync.Mutex
	return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err = f.Write(append(bytes.TrimRight(body, "\n"), '\n')); err == nil {
			err = f.Sync()
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
}

// reader reads the file of serve, each time from where it was.
type reader struct {
	file string
	at   int64
	list []bridgetest.Message
}

func (r *reader) arrived(context.Context) ([]bridgetest.Message, error) {
	f, err := os.Open(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, r.at, 1<<40))
	if err != nil {
		return nil, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	r.at += int64(len(text))
	for line := range strings.Lines(string(text)) {
		m, err := bridgetest.ParseMessage([]byte(strings.TrimSpace(line)))
		if err == nil { // or it was being written when the server was killed, and not answered
			r.list = append(r.list, m)
		}
	}
	return r.list, nil
}

// The broker, the plugin's process and the server are killed, and the network between them
// fails, while messages go there.
func TestChaos(t *testing.T) {
	t.Parallel() // it waits, for the most part
	addr, file := bridgetest.FreeAddr(t), filepath.Join(t.TempDir(), "got")
	there := bridgetest.StartProcess(t, bridgetest.ProcessOptions{
		Name: "server", Command: bridgetest.Role(t, "server", addr, file), Ready: bridgetest.Listens(addr),
	})
	net := bridgetest.StartProxy(t, addr)
	here := bridgetest.StartBroker(t, bridgetest.BrokerOptions{Name: "here", Plugins: fmt.Sprintf(`  - name: b
    plugin: bridge-webhook
    runtime: process
    config:
      allow_private: [127.0.0.1]
      timeout: 2s
      routes:
        - {name: single, filters: ["single/#"], url: "http://%[1]s/", parallel: 4, retry_min: 20ms, retry_max: 500ms}
        - {name: lines, filters: ["lines/#"], url: "http://%[1]s/", batch: lines, body: "${payload}", codec: json, retry_min: 20ms, retry_max: 500ms}
        - {name: sure, filters: ["sure/#"], url: "http://%[1]s/", parallel: 4, ack: after_remote, retry_min: 20ms, retry_max: 500ms}
`, net.Addr)})
	l := bridgetest.NewLedger()
	load := bridgetest.Publish(t, l, bridgetest.PublisherOptions{
		Addr: here.Addr, Keys: []string{"single/1", "single/2", "lines/1", "lines/2", "sure/1", "sure/2"},
	})
	t.Log(bridgetest.Chaos{
		Here: here, There: there, Network: net, Ledger: l, Load: load, Arrived: (&reader{file: file}).arrived,
		Sure: func(key string) bool { return strings.HasPrefix(key, "sure/") }, AtOnce: true,
	}.Run(t))
}
