package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/patchbay-mq/patchbay/core/packet"
)

// pluginCast is who takes part in a run with the recorder: all publish below the
// prefix alone.
type pluginCast struct {
	prefix string
	spoils int
	roles  []role
}

var gateCast = pluginCast{prefix: "gate", roles: []role{
	{version: packet.V5, qos: 2, filters: []string{"gate/#"}},
	{version: packet.V311, qos: 2, filters: []string{"gate/+/two", "gate/+/seen"}, slow: true, cuts: true},
}}

var consumerCast = pluginCast{prefix: "consume", spoils: 100, roles: []role{
	{version: packet.V311, qos: 2, filters: []string{"consume/#"}},
	{version: packet.V5, qos: 1, filters: []string{"consume/0/#"}, cuts: true},
}}

// pluginPublishers are those of a run with the recorder.
var pluginPublishers = []struct {
	version                             packet.Version
	clean, givesUp, leaves, lazyRelease bool
}{
	{version: packet.V5},
	{version: packet.V311},
	{version: packet.V5, leaves: true, lazyRelease: true},
	{version: packet.V311, leaves: true, lazyRelease: true},
	{version: packet.V311, clean: true, givesUp: true},
	{version: packet.V5, clean: true, leaves: true},
}

// gatePatience is how long MQTT 3 clients wait for an acknowledgement.
const gatePatience = 300 * time.Millisecond

// assemble makes the cast of a run.
func (c pluginCast) assemble(l *ledger, seed uint64) *cast {
	all := new(cast)
	for i, p := range pluginPublishers {
		about := fmt.Sprintf("MQTT %v, clean %t", p.version, p.clean)
		x := &publisher{
			client:  client{l: l, who: l.enter(fmt.Sprintf("pub%d", i), about), version: p.version, clean: p.clean, rng: rand.New(rand.NewPCG(seed, uint64(i)))},
			givesUp: p.givesUp, leaves: p.leaves, lazyRelease: p.lazyRelease, spoils: c.spoils,
		}
		if p.version < packet.V5 {
			x.patience = gatePatience
		}
		x.topics = c.topicsOf(x.who)
		all.publishers = append(all.publishers, x)
	}
	for i, r := range c.roles {
		all.subscribers = append(all.subscribers, newSubscriber(l, fmt.Sprintf("sub%d", i), r, nil, rand.New(rand.NewPCG(seed, uint64(100+i)))))
	}
	return all
}

// topicsOf are the topics of a publisher. What goes to "seen" the recorder looks at
// before it is routed.
func (c pluginCast) topicsOf(who actor) (list []publisherTopic) {
	add := func(last string, qos ...byte) {
		t := publisherTopic{}
		for _, q := range qos {
			t.streams = append(t.streams, &stream{publisher: who, topic: fmt.Sprintf("%s/%d/%s", c.prefix, who, last), qos: q})
		}
		list = append(list, t)
	}
	add("one", 1)
	add("two", 2)
	add("seen", 1, 2)
	return list
}

// record follows one of the recorder's files.
type record struct {
	mu    sync.Mutex
	name  string
	enter func(line string)
	f     *os.File
	buf   []byte
	rest  []byte // of a line that is not complete
}

// read enters what is new.
func (r *record) read() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		f, err := os.Open(r.name)
		if err != nil {
			return // there is nothing in it yet
		}
		r.f, r.buf = f, make([]byte, 16<<10)
	}
	for {
		n, err := r.f.Read(r.buf)
		r.rest = append(r.rest, r.buf[:n]...)
		for {
			line, rest, whole := bytes.Cut(r.rest, []byte{'\n'})
			if !whole {
				break
			}
			if r.rest = rest; len(line) > 0 {
				r.enter(string(line))
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				panic(err) // it is a file of our own
			}
			return
		}
	}
}

func (r *record) close() {
	if r.f != nil {
		r.f.Close()
	}
}
