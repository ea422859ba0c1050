package meter

import "testing"

// countTicks is the naive meter: it counts the ticks of every instruction just before that runs, in a global exported
// as "ticks". It shares the prices with Rewrite, but nothing of where charges go and what they cover.
func countTicks(tb testing.TB, wasm []byte) []byte {
	tb.Helper()
	m, err := parse(wasm)
	if err != nil {
		tb.Fatal(err)
	}
	ticks := m.imported.globals + m.Globals
	out := append([]byte(nil), magic...)
	for _, section := range m.sections {
		content := m.data[section.start:section.end]
		switch section.id {
		case globalSection:
			content = extend(content, []byte{byte(I64), 1, opI64Const, 0, opEnd})
		case exportSection:
			content = extend(content, cat(str("ticks"), []byte{byte(Global)}, u(ticks)))
		case codeSection:
			r := &reader{data: m.data, pos: section.start, end: section.end, section: "code"}
			s := &scanner{reader: r, m: m}
			n := r.count(2)
			content = u(n)
			for i := range n {
				size := r.u32()
				end := r.pos + int(size)
				body := countBody(s, m.types[m.functions[m.imported.functions+i]], ticks, end)
				content = cat(content, u(len(body)), body)
			}
			if !r.ok() {
				tb.Fatal(r.err)
			}
		}
		out = cat(out, []byte{section.id}, u(len(content)), content)
	}
	return out
}

func countBody(s *scanner, t FuncType, ticks, end int) []byte {
	start := s.pos
	s.locals = len(t.Params)
	for range s.count(2) {
		s.locals += int(s.u32())
		s.valueType()
	}
	s.begin(len(t.Results))
	body := append([]byte(nil), s.data[start:s.pos]...)
	for s.pos < end && s.ok() {
		at := s.pos
		s.steps, s.ticks = s.steps[:0], 0
		s.instruction()
		price := s.ticks
		for _, step := range s.steps {
			price += step.ticks
		}
		if price > 0 {
			body = cat(body, gget(ticks), i64c(int64(price)), code(0x7c), gset(ticks))
		}
		body = append(body, s.data[at:s.pos]...)
	}
	return body
}

// What is charged is never less than the price of what ran, call by call, however the call ends.
func TestChargesCoverEveryInstruction(t *testing.T) {
	n := uint64(150)
	if testing.Short() || raceEnabled {
		n = 30
	}
	for seed := range n {
		checkBound(t, generate(seed), seed)
	}
}

func FuzzBound(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(2000 + seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { checkBound(t, generate(seed), seed) })
}

func checkBound(t *testing.T, module []byte, seed uint64) {
	t.Helper()
	info, err := Inspect(module)
	if err != nil {
		t.Fatal(err)
	}
	metered, err := instantiate(t, mustRewrite(t, module, Options{StartFuel: plenty}), config())
	if err != nil {
		return // the start function traps
	}
	counted := mustInstantiate(t, countTicks(t, module))
	ticks := func() uint64 { return counted.ExportedGlobal("ticks").Get() }
	var spent []int64
	run(metered, info.Exports, seed, func() {
		spent = append(spent, plenty-metered.left())
		metered.refill(plenty)
	})
	i, before := 0, ticks()
	run(counted, info.Exports, seed, func() {
		if ran := ticks() - before; ran > uint64(spent[i])*ticksPerFuel {
			t.Fatalf("seed %d, call %d: %d ticks ran, %d fuel was taken", seed, i, ran, spent[i])
		}
		before = ticks()
		i++
	})
	if i != len(spent) {
		t.Fatalf("seed %d: %d calls, %d counted", seed, len(spent), i)
	}
}
