package bridgetest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Message is one message of a Publisher: the N-th, from 0, of its key. Keys are the topics
// that are published to, and what order is kept by.
type Message struct {
	Key string `json:"key"`
	N   int    `json:"n"`
}

func (m Message) String() string { return fmt.Sprintf("%s %d", m.Key, m.N) }

// Payload is the message's payload: a JSON object with key, n and, if pad is more than 0,
// a text pad of that length.
func (m Message) Payload(pad int) []byte {
	key, err := json.Marshal(m.Key)
	if err != nil {
		panic(err) // a text is always JSON
	}
	b := fmt.Appendf(nil, `{"key":%s,"n":%d`, key, m.N)
	if pad > 0 {
		b = fmt.Appendf(b, `,"pad":"%s"`, strings.Repeat("x", pad))
	}
	return append(b, '}')
}

// ParseMessage reads what Payload has made.
func ParseMessage(payload []byte) (m Message, err error) {
	if err = json.Unmarshal(payload, &m); err == nil && m.Key == "" {
		err = fmt.Errorf("no message of a publisher: %.100q", payload)
	}
	return m, err
}
