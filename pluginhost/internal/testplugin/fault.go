package testplugin

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/patchbay-mq/patchbay/sdk"
	pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"
)

// floodTime is how long "flood" writes to the log.
const floodTime = 2 * time.Second

// last is the last level of a topic.
func last(topic string) string { return topic[strings.LastIndexByte(topic, '/')+1:] }

// misbehave does what word says, if it says anything.
func (p *plugin) misbehave(ctx context.Context, word string) error {
	switch word {
	case "panic":
		panic("told to")
	case "fail":
		return errors.New("told to")
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	case "exit":
		os.Exit(3)
	case "eat":
		limitMemory()
		for all := []byte{0}; len(all) > 0; {
			all = append(all, make([]byte, 1<<20)...) // copied, and so touched
		}
	case "spin":
		for n := uint(1); n != 0; n += 2 {
		}
	case "flood":
		p.flood()
	}
	return nil
}

// flood writes to the log as fast as it can, by the contract and around it.
func (p *plugin) flood() {
	text := strings.Repeat("flood ", 40)
	records := make([]pluginv1.LogRecord, 64)
	for i := range records {
		records[i] = pluginv1.LogRecord{Level: sdk.LevelError, Message: text}
	}
	for end := time.Now().Add(floodTime); time.Now().Before(end); {
		_, _ = p.host.Service().Log(context.Background(), &pluginv1.LogRequest{Records: records})
		if p.host.Info().Runtime != sdk.RuntimeBuiltin { // whose stderr is the broker's
			_, _ = os.Stderr.WriteString(text + "\n")
		}
	}
}

// answer publishes m again if the config says so.
func (p *plugin) answer(ctx context.Context, m *sdk.Message) error {
	c := p.config()
	if c.From == "" || last(m.Topic) != c.From {
		return nil
	}
	out := sdk.Message{Topic: strings.TrimSuffix(m.Topic, c.From) + c.To, Payload: m.Payload, QoS: m.QoS, Hops: m.Hops}
	if c.Fresh {
		out.Hops = 0
	}
	results, err := p.host.Publish(ctx, out)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range results {
		if r.ReasonCode >= 0x80 {
			p.seen = append(p.seen, "refused "+r.Reason)
		}
	}
	return err
}
