package bench

import "encoding/binary"

// stampSize is the size of a stamp, in bytes, and so the least payload size.
const stampSize = 24

// stamp opens every payload. Numbers are big-endian, in this order:
//
//	Nonce 4 | Publisher 4 | Stream 4 | Seq 4 | Time 8
type stamp struct {
	Nonce     uint32 // of the run; a payload with another one is not ours
	Publisher uint32 // index of the publisher
	Stream    uint32 // index of the topic within the publisher's topics
	Seq       uint32 // 1, 2, 3, … per publisher and topic, the scope of order [MQTT-4.6.0-6]
	Time      int64  // ns since the run began: when it was sent, or was due if it was late
}

// put writes s into the first stampSize bytes of b.
func (s stamp) put(b []byte) {
	_ = b[stampSize-1]
	binary.BigEndian.PutUint32(b, s.Nonce)
	binary.BigEndian.PutUint32(b[4:], s.Publisher)
	binary.BigEndian.PutUint32(b[8:], s.Stream)
	binary.BigEndian.PutUint32(b[12:], s.Seq)
	binary.BigEndian.PutUint64(b[16:], uint64(s.Time))
}

// readStamp reads the stamp of a payload; ok is false if it is too short for one.
func readStamp(b []byte) (s stamp, ok bool) {
	if len(b) < stampSize {
		return stamp{}, false
	}
	return stamp{
		Nonce:     binary.BigEndian.Uint32(b),
		Publisher: binary.BigEndian.Uint32(b[4:]),
		Stream:    binary.BigEndian.Uint32(b[8:]),
		Seq:       binary.BigEndian.Uint32(b[12:]),
		Time:      int64(binary.BigEndian.Uint64(b[16:])),
	}, true
}
