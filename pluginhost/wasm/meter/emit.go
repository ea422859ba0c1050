package meter

// code returns the code section with charges in all function bodies.
//
// A body becomes
//
//	block              ;; a branch to it traps
//	  block (results)  ;; stands for the function: labels in the body keep their numbers
//	    …body…
//	  end
//	  return
//	end
//	unreachable
//
// so that a charge can leave by br_if: forward branches that are not taken and one cold block at the end. An if
// around an unreachable at each charge costs 40 % more on tight loops, and 38 bytes of machine code each.
func (w *rewriter) code(section section) ([]byte, error) {
	r := &reader{data: w.data, pos: section.start, end: section.end, section: sectionNames[codeSection], function: -1}
	s := &scanner{reader: r, m: w.module}
	n := r.count(2)
	out := leb(make([]byte, 0, (section.end-section.start)*5/4), n)
	var body []byte
	for i := range n {
		r.function = w.imported.functions + i
		size := r.u32()
		at := r.pos
		r.bytes(size)
		if int64(size) > int64(w.MaxBody) {
			r.fail(TooLarge, at, "a body of %d bytes, the limit is %d", size, w.MaxBody)
		}
		if !r.ok() {
			return nil, r.err
		}
		r.pos, r.end = at, at+int(size)
		body = w.body(s, body[:0], w.functions[r.function])
		if !r.ok() {
			return nil, r.err
		}
		r.end = section.end
		out = append(leb(out, len(body)), body...)
	}
	if r.pos != r.end {
		r.fail(Malformed, r.pos, "%d bytes left over", r.end-r.pos)
		return nil, r.err
	}
	return out, nil
}

// body appends the metered form of the body that the scanner is at the beginning of, without its size.
func (w *rewriter) body(s *scanner, out []byte, typeIndex uint32) []byte {
	t := w.types[typeIndex]
	s.locals = len(t.Params)
	groups := s.count(2)
	declared := s.pos
	for range groups {
		at := s.pos
		n := s.u32()
		if s.valueType(); int64(n) > int64(w.MaxLocals-s.locals) {
			s.fail(TooLarge, at, "more locals than %d", w.MaxLocals)
		}
		if !s.ok() {
			return out
		}
		s.locals += int(n)
	}
	start := s.pos
	if s.body(len(t.Results)); !s.ok() {
		return out
	}
	if s.bulks > 0 { // they need a local to count with
		out = leb(out, groups+1)
		out = append(out, w.data[declared:start]...)
		out = append(out, 1, byte(I32))
	} else {
		out = leb(out, groups)
		out = append(out, w.data[declared:start]...)
	}
	out = append(out, opBlock, emptyBlock, opBlock)
	out = append(out, w.bodyType[typeIndex]...)
	from := start
	for _, c := range s.place(start) {
		out = append(out, w.data[from:c.at]...)
		from = c.at
		out = w.charge(out, c, s.locals)
	}
	out = append(out, w.data[from:s.end]...)
	return append(out, opReturn, opEnd, opUnreachable, opEnd)
}

// charge appends the instructions of one charge. They leave the stack as it was. A charge by length counts with the
// added local, whose index is length.
func (w *rewriter) charge(out []byte, c charge, length int) []byte {
	if c.ticks > 0 {
		out = w.op(out, opGlobalGet)
		out = sleb(append(out, opI64Const), int64((c.ticks+ticksPerFuel-1)/ticksPerFuel))
	} else {
		out = leb(append(out, opLocalTee), length)
		out = w.op(out, opGlobalGet)
		out = leb(append(out, opLocalGet), length)
		out = append(out, opI64ExtendU)
		out = w.price(out, c.bulk, length)
	}
	out = append(out, opI64Sub)
	out = w.op(out, opGlobalSet)
	out = w.op(out, opGlobalGet)
	out = append(out, opI64Const, 0, opI64LtS, opBrIf)
	return leb(out, int(c.depth))
}

// price appends what makes fuel of a number of bytes, entries or pages, an i64 on the stack.
func (w *rewriter) price(out []byte, kind bulkKind, length int) []byte {
	if log := bulks[kind].log; log > 0 {
		return append(sleb(append(out, opI64Const), log), opI64ShrU)
	}
	each, most := int64(w.PageFuel), w.MaxPages
	if kind == growTable {
		each, most = entryFuel, w.MaxTable
	}
	out = append(sleb(append(out, opI64Const), each), opI64Mul)
	// To grow by more than there can be fails, whatever it costs.
	out = append(out, opI64Const, 0)
	out = leb(append(out, opLocalGet), length)
	out = sleb(append(out, opI32Const), int64(int32(most)))
	return append(out, opI32LeU, opSelect)
}

// op appends an instruction on the fuel global.
func (w *rewriter) op(out []byte, code byte) []byte {
	return append(append(out, code), w.fuel...)
}
