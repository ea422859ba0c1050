package dump

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// Export writes what a view shows. It ends early, without the end line, when ctx
// does, with its cause. version is that of the program.
func Export(ctx context.Context, w io.Writer, v *disk.View, version string) (Counts, error) {
	d, err := newWriter(w, version, time.Now())
	if err != nil {
		return Counts{}, err
	}
	err = v.Sessions(func(s disk.SessionView) error { return exportSession(ctx, d, &s) })
	if err == nil {
		err = v.Retained(func(namespace string, m *packet.Message) error {
			return errors.Join(context.Cause(ctx), d.retained(namespace, m))
		})
	}
	if err == nil {
		err = v.Values(func(bucket, key string, b []byte, version uint64, expires int64) error {
			return errors.Join(context.Cause(ctx), d.value(&value{bucket, key, b, version, expires}))
		})
	}
	if err != nil {
		return d.n, err
	}
	return d.end(v.Unreadable())
}

func exportSession(ctx context.Context, d *writer, s *disk.SessionView) error {
	err := errors.Join(context.Cause(ctx), d.session(&session{s.Record, s.Subscriptions, s.Received}))
	if s.Will != nil {
		s.Will.Message.Unref()
	}
	if err != nil {
		return err
	}
	err = s.Inflight(func(in store.Inflight) error {
		return errors.Join(context.Cause(ctx), d.inflight(&inflight{in.Entry, packetID(in.Seq), in.Released}))
	})
	if err != nil {
		return err
	}
	return s.Waiting(func(e store.Entry) error { return errors.Join(context.Cause(ctx), d.queued(&e)) })
}

// packetIDs is how many Packet Identifiers there are. Which one a message in
// flight has follows from its sequence number, as core/session has it.
const packetIDs = 65535

func packetID(seq uint64) uint16 { return uint16(seq%packetIDs) + 1 }

// nextSeq is the first sequence number from the given one on with a Packet
// Identifier.
func nextSeq(from uint64, id uint16) uint64 {
	return from + (uint64(id)-1+packetIDs-from%packetIDs)%packetIDs
}
