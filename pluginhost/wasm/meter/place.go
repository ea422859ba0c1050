package meter

import "slices"

// charge is a place where fuel is taken.
type charge struct {
	at    int      // before the instruction at this offset
	ticks uint64   // for the longest path from here to further charges; 0 for a bulk instruction
	depth int32    // open blocks around it
	bulk  bulkKind // where ticks is 0
}

// place decides where to charge, by going through the steps back to front with the price of the longest path from
// where it is to the charges that follow. The result is in order, and valid until the next call.
//
// A loop's header and the function's entry always get a charge, so that every way through the function that comes
// back to where it was passes one. Elsewhere the path is split where it is about to become long and there is a
// choice: without that, what one arm costs would be paid by all that take the other.
func (s *scanner) place(start int) []charge {
	p := placer{blocks: s.ends[:0], charges: s.charges[:0]}
	for i := len(s.steps) - 1; i >= 0; i-- {
		st := &s.steps[i]
		switch st.kind {
		case stepEnd:
			if st.exit {
				p.split(st, exitTicks)
			} else {
				p.split(st, splitTicks)
			}
			p.blocks = append(p.blocks, blockEnd{branch: p.path, skip: p.path})
		case stepLoopEnd:
			p.split(st, exitTicks)
			p.blocks = append(p.blocks, blockEnd{}) // a branch goes to the header, which charges anew
		case stepElse:
			p.split(st, splitTicks)
			b := &p.blocks[len(p.blocks)-1]
			b.skip, p.path = p.path, b.branch
		case stepIf:
			p.split(st, splitTicks)
			p.path = max(p.path, p.pop().skip)
		case stepBlock:
			p.pop()
		case stepLoop:
			p.pop()
			p.charge(st)
		case stepBranch:
			p.path = p.label(st.label)
		case stepBranchIf:
			if !st.near || p.path >= farTicks {
				p.split(st, splitTicks)
			}
			p.path = max(p.path, p.label(st.label))
		case stepTable:
			p.path = 0
			for _, label := range s.labels[st.label:st.last] {
				p.path = max(p.path, p.label(label))
			}
		case stepStop:
			p.path = 0
		case stepBulk:
			p.charges = append(p.charges, charge{at: st.at, depth: st.depth, bulk: st.bulk})
		}
		p.path += st.ticks
	}
	p.charge(&step{at: start, depth: 1})
	s.ends, s.charges = p.blocks, p.charges
	slices.Reverse(s.charges)
	return s.charges
}

type placer struct {
	path    uint64 // ticks of the longest path from here to charges that follow
	blocks  []blockEnd
	charges []charge // last one first
}

// blockEnd is what is known of an open block, seen from its end.
type blockEnd struct {
	branch uint64 // path of a branch to it
	skip   uint64 // path of an if's second arm
}

func (p *placer) label(relative uint32) uint64 {
	return p.blocks[len(p.blocks)-1-int(relative)].branch
}

func (p *placer) pop() blockEnd {
	b := p.blocks[len(p.blocks)-1]
	p.blocks = p.blocks[:len(p.blocks)-1]
	return b
}

func (p *placer) charge(st *step) {
	p.charges = append(p.charges, charge{at: st.at, depth: st.depth, ticks: max(p.path, 1)})
	p.path = 0
}

// split charges behind a step if the path from there is at least that long.
func (p *placer) split(st *step, limit uint64) {
	if p.path >= limit {
		p.charge(st)
	}
}
