package wasm

import "sync/atomic"

// Stats are figures of a Plugin since Open.
type Stats struct {
	Instances []InstanceStats // that are there now, the worker first
	Calls     uint64          // that instances have made, now and before
	Failed    uint64          // of these: ended by an error
	Traps     uint64          // of these: the instance was given up
	Made      uint64          // instances, the first ones counted
	Queued    int             // calls that wait, or are under way on the worker
}

// InstanceStats are figures of one place for an instance: they go on when the instance is replaced.
type InstanceStats struct {
	Instance    uint32 // StartRequest.instance of the present one
	Worker      bool
	MemoryBytes uint64 // linear memory; never shrinks
	Calls       uint64
	Failed      uint64
	Traps       uint64
	FuelLast    uint64 // used by the last call
	FuelMax     uint64 // used by the dearest call
}

// counters are written by who holds the slot, and read by anyone.
type counters struct {
	instance, memory, calls, failed, traps, fuelLast, fuelMax atomic.Uint64
}

// count takes down a call that has ended.
func (s *slot) count(err error) {
	add(&s.calls)
	if err != nil {
		add(&s.failed)
	}
	used := uint64(max(s.guest.fuelUsed, 0))
	s.fuelLast.Store(used)
	if used > s.fuelMax.Load() {
		s.fuelMax.Store(used)
	}
	if !s.guest.dead {
		s.measure()
	}
}

func (s *slot) measure() {
	if size := uint64(s.guest.memory.Size()); size != s.memory.Load() {
		s.memory.Store(size)
	}
}

// add is cheaper than Add, and right for one writer.
func add(c *atomic.Uint64) { c.Store(c.Load() + 1) }

// Stats may be called at any time.
func (p *Plugin) Stats() Stats {
	s := Stats{Made: p.made.Load(), Queued: int(p.worker.pending.Load() + p.pool.pending.Load())}
	p.worker.slot.report(&s, true)
	for _, slot := range p.pool.slots {
		slot.report(&s, false)
	}
	return s
}

func (s *slot) report(to *Stats, worker bool) {
	i := InstanceStats{
		Instance: uint32(s.instance.Load()), Worker: worker, MemoryBytes: s.memory.Load(), Calls: s.calls.Load(),
		Failed: s.failed.Load(), Traps: s.traps.Load(), FuelLast: s.fuelLast.Load(), FuelMax: s.fuelMax.Load(),
	}
	to.Calls += i.Calls
	to.Failed += i.Failed
	to.Traps += i.Traps
	if s.live.Load() {
		to.Instances = append(to.Instances, i)
	}
}
