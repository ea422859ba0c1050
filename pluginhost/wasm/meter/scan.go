package meter

// step is a point of a function where control may go elsewhere or come from elsewhere, or a bulk instruction. There may
// be one for every two bytes of code, so it is small.
type step struct {
	kind  stepKind
	bulk  bulkKind // stepBulk
	exit  bool     // stepEnd: reached by leaving a loop
	near  bool     // stepBranchIf: straight behind a loop's header or the function's entry
	depth int32    // open blocks behind it, the function's own included: the label of the trap
	label uint32   // stepBranch, stepBranchIf: relative; stepTable: its labels are scanner.labels[label:last]
	last  uint32
	at    int    // offset behind it; of the instruction for stepBulk
	ticks uint64 // its price, and that of the straight code since the step before
}

type stepKind uint8

const (
	stepBlock stepKind = iota // block, loop, if, else and end: behind them
	stepLoop
	stepIf
	stepElse
	stepEnd
	stepLoopEnd // end of a loop
	stepBranch
	stepBranchIf // behind it, where it is not taken
	stepTable
	stepStop // return, unreachable
	stepBulk
)

// openBlock is a block, loop, if or the function itself.
type openBlock struct {
	kind  stepKind // stepIf becomes stepElse in the second arm
	arity int      // how many values a branch to it carries
	loops int      // loops around its inside
	exit  bool     // a branch to it leaves a loop
}

// scanner reads the instructions of a function, front to back, into steps. It checks what the rewriting relies on
// (structure, and that indices point at something of the original module); types are the runtime's to check.
// Its slices serve one function after the other.
type scanner struct {
	*reader
	m        *module
	locals   int // of the function, parameters included
	blocks   []openBlock
	steps    []step
	labels   []uint32
	ends     []blockEnd
	charges  []charge
	bulks    int
	ticks    uint64 // since the last step
	straight bool   // nothing but conditional branches since the last loop's header or the entry
	since    uint64 // ticks since then
}

// body reads a function's instructions, to the end of the reader.
func (s *scanner) body(results int) {
	s.begin(results)
	for len(s.blocks) > 0 && s.pos < s.end {
		s.instruction()
	}
	switch {
	case len(s.blocks) > 0:
		s.fail(Malformed, s.pos, "ends in the middle of a block")
	case s.pos != s.end:
		s.fail(Malformed, s.pos, "%d bytes behind the function's end", s.end-s.pos)
	}
}

// begin makes the scanner ready for a function's first instruction.
func (s *scanner) begin(results int) {
	s.blocks = append(s.blocks[:0], openBlock{kind: stepBlock, arity: results})
	s.steps, s.labels, s.bulks = s.steps[:0], s.labels[:0], 0
	s.ticks, s.since, s.straight = 0, 0, true
}

func (s *scanner) instruction() {
	at := s.pos
	code := s.data[at]
	s.pos++
	op := opcodes[code]
	s.ticks += uint64(op.ticks)
	switch op.shape {
	case plain:
		if code == opUnreachable {
			s.step(stepStop)
		}
	case control:
		s.control(code)
	default:
		s.immediate(op.shape, code, at)
	}
}

func (s *scanner) spend(ticks int) { s.ticks += uint64(ticks) }

// step adds a step here.
func (s *scanner) step(kind stepKind) *step {
	s.since += s.ticks
	s.steps = append(s.steps, step{
		kind: kind, at: s.pos, ticks: s.ticks, depth: int32(len(s.blocks)), near: s.straight && s.since < nearTicks,
	})
	s.ticks = 0
	switch kind {
	case stepLoop:
		s.straight, s.since = true, 0
	case stepBlock, stepBranchIf, stepBulk:
	default:
		s.straight = false
	}
	return &s.steps[len(s.steps)-1]
}

func (s *scanner) control(code byte) {
	switch code {
	case opBlock, opLoop, opIf:
		s.open(code)
	case opElse:
		b := &s.blocks[len(s.blocks)-1]
		if b.kind != stepIf {
			s.fail(Malformed, s.pos-1, "else outside of an if")
			return
		}
		b.kind = stepElse
		s.step(stepElse)
	case opEnd:
		b := s.blocks[len(s.blocks)-1]
		s.blocks = s.blocks[:len(s.blocks)-1]
		if b.kind == stepLoop {
			s.step(stepLoopEnd)
		} else {
			s.step(stepEnd).exit = b.exit
		}
	case opBr:
		label, arity := s.label()
		s.spend(branchTicks + arity)
		s.step(stepBranch).label = label
	case opBrIf:
		label, arity := s.label()
		s.spend(branchIfTicks + arity)
		s.step(stepBranchIf).label = label
	case opBrTable:
		s.branchTable()
	case opReturn:
		s.spend(branchTicks + s.blocks[0].arity)
		s.step(stepStop)
	case opCall:
		if i := s.m.index(s.reader, "function", len(s.m.functions)); s.ok() {
			s.call(int(i))
		}
	case opCallIndirect:
		if t := s.m.typeIndex(s.reader); s.ok() {
			s.spend(indirectTicks + s.m.types[t].values())
		}
		s.m.tableIndex(s.reader)
		s.straight = false
	}
}

func (s *scanner) open(code byte) {
	params, results := s.blockType()
	b := openBlock{kind: stepBlock, arity: results, loops: s.blocks[len(s.blocks)-1].loops}
	switch code {
	case opLoop:
		b.kind, b.arity = stepLoop, params
		b.loops++
	case opIf:
		b.kind = stepIf
		s.spend(branchIfTicks)
	}
	s.blocks = append(s.blocks, b)
	s.step(b.kind)
}

func (s *scanner) branchTable() {
	first := len(s.labels)
	for range s.count(1) {
		label, _ := s.label()
		s.labels = append(s.labels, label)
		if !s.ok() {
			return
		}
	}
	label, arity := s.label()
	s.labels = append(s.labels, label)
	s.spend(branchTableTicks + arity)
	step := s.step(stepTable)
	step.label, step.last = uint32(first), uint32(len(s.labels))
}

func (s *scanner) call(function int) {
	ticks := callTicks
	if function < s.m.imported.functions {
		ticks = hostCallTicks
	}
	s.spend(ticks + s.m.types[s.m.functions[function]].values())
	s.straight = false
}

func (f FuncType) values() int { return len(f.Params) + len(f.Results) }

// label reads a label, and tells how many values a branch to it carries.
func (s *scanner) label() (label uint32, arity int) {
	label = s.m.index(s.reader, "label", len(s.blocks))
	if !s.ok() {
		return 0, 0
	}
	b := &s.blocks[len(s.blocks)-1-int(label)]
	if b.loops < s.blocks[len(s.blocks)-1].loops {
		b.exit = true
	}
	return label, b.arity
}

func (s *scanner) blockType() (params, results int) {
	at := s.pos
	b := s.byte()
	switch {
	case b == emptyBlock:
		return 0, 0
	case ValueType(b).known():
		return 0, 1
	case b&0xc0 == 0x40: // a negative number of one byte
		s.fail(Unsupported, at, "block type %#x", b)
		return 0, 0
	}
	s.pos = at
	s.signed(33)
	if !s.ok() {
		return 0, 0
	}
	if n := s.pos - at; n < 5 && s.data[s.pos-1]&0x40 != 0 {
		s.fail(Unsupported, at, "block type that is a negative number of %d bytes", n)
		return 0, 0
	}
	s.pos = at // not negative: an unsigned number in the same bytes
	if t := s.m.typeIndex(s.reader); s.ok() {
		return len(s.m.types[t].Params), len(s.m.types[t].Results)
	}
	return 0, 0
}
