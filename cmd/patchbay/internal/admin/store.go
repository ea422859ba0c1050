package admin

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/dump"
	"github.com/patchbay-mq/patchbay/cmd/patchbay/internal/storecmd/report"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// withView lets fn look at the durable store as of this moment. ctx ends when the
// caller goes, or when the shutdown begins: the store, which ends its views when it
// is closed, must not have to wait for somebody who does not read what is written.
func (s *Server) withView(w http.ResponseWriter, r *http.Request, fn func(ctx context.Context, v *disk.View) *failure) *failure {
	if s.opts.Store == nil {
		return failf(http.StatusConflict, "this broker keeps its state in memory (store: memory): there is nothing on disk")
	}
	if s.running.Err() != nil {
		return failf(http.StatusServiceUnavailable, "the broker is shutting down")
	}
	view := s.opts.Store.View()
	defer view.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(ctx, view.Interrupt)()
	defer context.AfterFunc(s.running, func() {
		cancel()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now())
	})()
	return fn(ctx, view)
}

func (s *Server) serveStore(w http.ResponseWriter, r *http.Request) *failure {
	return s.withView(w, r, func(_ context.Context, v *disk.View) *failure {
		st, err := report.StatsOf(s.opts.StoreDir, v)
		if err != nil {
			return failf(http.StatusInternalServerError, "%v", err)
		}
		st.Run(s.opts.Store.Stats())
		return answer(w, http.StatusOK, st)
	})
}

func (s *Server) serveStoreCheck(w http.ResponseWriter, r *http.Request) *failure {
	return s.streamView(w, r, "check", func(_ context.Context, w io.Writer, v *disk.View) error {
		return report.Check(w, v)
	})
}

func (s *Server) serveStoreExport(w http.ResponseWriter, r *http.Request) *failure {
	return s.streamView(w, r, "export", func(ctx context.Context, w io.Writer, v *disk.View) error {
		n, err := dump.Export(ctx, w, v, s.opts.Version)
		if err == nil {
			s.log.Info("store exported by an operator", "sessions", n.Sessions, "messages", n.Inflight+n.Queued, "retained", n.Retained)
		}
		return err
	})
}

// streamView answers with JSON lines. The status is out before what may go wrong:
// then the answer is cut off, which no caller takes for a whole one.
func (s *Server) streamView(w http.ResponseWriter, r *http.Request, what string, fn func(context.Context, io.Writer, *disk.View) error) *failure {
	return s.withView(w, r, func(ctx context.Context, v *disk.View) *failure {
		w.Header().Set("Content-Type", "application/jsonl")
		_ = http.NewResponseController(w).Flush() // a caller that has gone shows with the next write
		if err := fn(ctx, w, v); err != nil {
			s.log.Warn("a look at the store did not come to its end", "call", what, "error", err)
			panic(http.ErrAbortHandler)
		}
		return nil
	})
}

// storeStats are zero where nothing is stored.
func storeStats(st *disk.Store) store.Stats {
	if st == nil {
		return store.Stats{}
	}
	return st.Stats()
}
