package meter

// immediate reads what follows the instruction at offset at.
func (s *scanner) immediate(sh shape, code byte, at int) {
	switch sh {
	case local:
		s.m.index(s.reader, "local", s.locals)
	case global:
		s.m.globalIndex(s.reader)
	case table:
		s.m.tableIndex(s.reader)
	case memarg:
		s.memarg(at)
	case memargLane:
		s.memarg(at)
		s.byte()
	case lane:
		s.byte()
	case memory:
		s.memory()
	case const32:
		s.signed(32)
	case const64:
		s.signed(64)
	case raw4:
		s.bytes(4)
	case raw8:
		s.bytes(8)
	case raw16:
		s.bytes(16)
	case special:
		s.special(code, at)
	default:
		s.fail(Unsupported, at, "instruction %#x: %s", code, proposal(code))
	}
}

func (s *scanner) memarg(at int) {
	if align := s.u32(); align >= 32 {
		s.fail(Unsupported, at, "alignment %#x (multiple memories?)", align)
	}
	s.u32()
}

// memory reads the index of a memory.
func (s *scanner) memory() {
	at := s.pos
	if b := s.byte(); b != 0 {
		s.fail(Unsupported, at, "memory %d: multiple memories", b)
	}
}

func (s *scanner) special(code byte, at int) {
	switch code {
	case opSelectTyped:
		if n := s.byte(); n != 1 {
			s.fail(Malformed, at, "select of %d types", n)
		}
		s.valueType()
	case opRefNull:
		s.referenceType()
	case opRefFunc:
		s.m.index(s.reader, "function", len(s.m.functions))
	case opMemoryGrow:
		s.bulk(at, growMemory)
		s.memory()
	case opMisc:
		s.misc(at)
	case opVector:
		s.vector(at)
	}
}

// vector reads what follows the vector prefix. The number behind it is taken in its shortest form only: wazero 1.12
// reads one byte, and takes a second one (it is 1) for the instruction nop. With anything else there, this scanner
// and the runtime would see different code.
func (s *scanner) vector(at int) {
	code := s.byte()
	if code >= 0x80 {
		if second := s.byte(); second != 1 {
			s.fail(Unsupported, at, "vector instruction %#x %#x (relaxed SIMD?)", code, second)
			return
		}
	}
	op := vectors[code]
	s.spend(int(op.ticks))
	switch op.shape {
	case plain:
	case unknown:
		s.fail(Unsupported, at, "vector instruction %#x: no instruction of WebAssembly 2.0", code)
	default:
		s.immediate(op.shape, opVector, at)
	}
}

// misc reads what follows the prefix of saturating truncations and bulk instructions, again in the shortest form.
func (s *scanner) misc(at int) {
	code := s.byte()
	switch code {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		s.spend(truncTicks)
	case miscMemoryInit:
		s.bulk(at, copyMemory)
		s.u32()
		s.memory()
	case miscDataDrop, miscElemDrop:
		s.spend(dropTicks)
		s.u32()
	case miscMemoryCopy:
		s.bulk(at, copyMemory)
		s.memory()
		s.memory()
	case miscMemoryFill:
		s.bulk(at, fillMemory)
		s.memory()
	case miscTableInit:
		s.bulk(at, copyTable)
		s.u32()
		s.m.tableIndex(s.reader)
	case miscTableCopy:
		s.bulk(at, copyTable)
		s.m.tableIndex(s.reader)
		s.m.tableIndex(s.reader)
	case miscTableGrow:
		s.bulk(at, growTable)
		s.m.tableIndex(s.reader)
	case miscTableSize:
		s.spend(aluTicks)
		s.m.tableIndex(s.reader)
	case miscTableFill:
		s.bulk(at, fillTable)
		s.m.tableIndex(s.reader)
	default:
		s.fail(Unsupported, at, "instruction %#x %#x: no instruction of WebAssembly 2.0", opMisc, code)
	}
}

// bulk notes an instruction that is charged by the length on top of the stack, too.
func (s *scanner) bulk(at int, kind bulkKind) {
	s.spend(bulks[kind].ticks)
	step := s.step(stepBulk)
	step.at, step.bulk = at, kind
	s.bulks++
}
