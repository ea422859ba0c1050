package process

import pluginv1 "github.com/patchbay-mq/patchbay/sdk/proto/v1"

// Stats are figures of a Plugin.
type Stats struct {
	PID         int
	MemoryBytes uint64 // resident memory of the process, without those that it has started; 0 where that is not known
	Queued      int    // batches that wait to be sent
	Unanswered  int    // batches that were sent
}

// Stats may be called at any time.
func (p *Plugin) Stats() Stats {
	s := Stats{PID: p.PID()}
	if p.over(pluginv1.PluginOpUnspecified) == nil {
		s.MemoryBytes = residentBytes(s.PID)
	}
	s.Queued, s.Unanswered = p.process.count()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.consumers {
		queued, unanswered := c.count()
		s.Queued += queued
		s.Unanswered += unanswered
	}
	return s
}
