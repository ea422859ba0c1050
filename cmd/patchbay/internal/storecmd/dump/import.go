package dump

import (
	"io"

	"github.com/patchbay-mq/patchbay/core/packet"
	"github.com/patchbay-mq/patchbay/core/store"
	"github.com/patchbay-mq/patchbay/core/store/disk"
)

// Import reads a dump into a new folder. With an error, which names the line, the
// dump was not whole, or not all of it is in the folder: then the caller throws
// the folder away. It does not close the Importer.
func Import(r io.Reader, im *disk.Importer) (Counts, error) {
	return read(r, &importing{to: im})
}

// importing gives what a dump lacks: sequence numbers and places. They start
// anew, below those that a broker gives to new messages.
type importing struct {
	to       *disk.Importer
	key      uint64 // of the session
	seq, pos uint64 // of its next message in flight
}

func (im *importing) session(s *session) (err error) {
	im.seq, im.pos = 0, 1
	im.key, err = im.to.Session(s.Record, s.subscriptions, s.received)
	if s.Will != nil {
		s.Will.Message.Unref()
	}
	return err
}

func (im *importing) inflight(in *inflight) error {
	seq := nextSeq(im.seq, in.packetID)
	e := in.Entry
	e.Pos = im.pos
	im.seq, im.pos = seq+1, im.pos+1
	err := im.to.Inflight(im.key, store.Inflight{Entry: e, Seq: seq, Released: in.released})
	if e.Message != nil {
		e.Message.Unref()
	}
	return err
}

func (im *importing) queued(e *store.Entry) error {
	err := im.to.Entry(im.key, *e)
	e.Message.Unref()
	return err
}

func (im *importing) retained(namespace string, m *packet.Message) error {
	err := im.to.Retained(namespace, m)
	m.Unref()
	return err
}

func (im *importing) value(v *value) error {
	return im.to.Value(v.bucket, v.key, v.value, v.version, v.expires)
}
