package meter

// Instructions that are named elsewhere.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI64LtS       = 0x53
	opI32LeU       = 0x4d
	opI64Sub       = 0x7d
	opI64Mul       = 0x7e
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad // i64.extend_i32_u
	opSelect       = 0x1b
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc // prefix
	opVector       = 0xfd // prefix

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17

	vecConst = 12
)

// shape says what follows an opcode.
type shape uint8

const (
	unknown shape = iota
	plain         // nothing
	control       // scanner.control reads it
	special       // scanner.special reads it
	local
	global
	table
	memarg
	lane // one byte
	memargLane
	memory // its index: one zero byte
	const32
	const64
	raw4 // bytes
	raw8
	raw16
)

// opcode says how to read an instruction, and its price.
type opcode struct {
	shape shape
	ticks uint16
}

// opcodes are the instructions of one byte, vectors those behind the vector prefix; both are read only.
var (
	opcodes = expand([]opcodeRange{
		{0x00, 0x01, plain, 0}, // unreachable, nop
		{opBlock, opElse, control, 0},
		{opEnd, opCallIndirect, control, 0},
		{0x1a, 0x1a, plain, 0}, // drop
		{opSelect, opSelect, plain, selectTicks},
		{opSelectTyped, opSelectTyped, special, selectTicks},
		{opLocalGet, opLocalGet, local, 0},
		{0x21, opLocalTee, local, setTicks},
		{opGlobalGet, opGlobalSet, global, globalTicks},
		{0x25, 0x26, table, tableTicks}, // table.get, table.set
		{0x28, 0x35, memarg, loadTicks},
		{0x36, 0x3e, memarg, storeTicks},
		{0x3f, 0x3f, memory, aluTicks}, // memory.size
		{opMemoryGrow, opMemoryGrow, special, 0},
		{opI32Const, opI32Const, const32, 0},
		{opI64Const, opI64Const, const64, 0},
		{opF32Const, opF32Const, raw4, floatCheapTicks},
		{opF64Const, opF64Const, raw8, floatCheapTicks},
		{0x45, 0x5a, plain, compareTicks},   // of integers
		{0x5b, 0x66, plain, floatTestTicks}, // of floats
		{0x67, 0x8a, plain, aluTicks},       // integer arithmetic, but:
		{0x6c, 0x6c, plain, mulTicks},
		{0x6d, 0x70, plain, divTicks}, // i32 div, rem
		{0x7e, 0x7e, plain, mulTicks},
		{0x7f, 0x82, plain, divTicks},        // i64 div, rem
		{0x8b, 0xa6, plain, floatTicks},      // float arithmetic, but:
		{0x8b, 0x8c, plain, floatCheapTicks}, // f32 abs, neg
		{0x91, 0x91, plain, sqrtTicks},
		{0x95, 0x95, plain, floatDivTicks},
		{0x96, 0x97, plain, minMaxTicks},
		{0x98, 0x98, plain, copysignTicks},
		{0x99, 0x9a, plain, floatCheapTicks}, // f64 abs, neg
		{0x9f, 0x9f, plain, sqrtTicks},
		{0xa3, 0xa3, plain, floatDivTicks},
		{0xa4, 0xa5, plain, minMaxTicks},
		{0xa6, 0xa6, plain, copysignTicks},
		{0xa7, 0xa7, plain, aluTicks}, // wrap
		{0xa8, 0xb1, plain, truncTicks},
		{0xac, 0xad, plain, aluTicks},        // extend
		{0xb2, 0xbb, plain, convertTicks},    // also demote, promote
		{0xbc, 0xbf, plain, floatCheapTicks}, // reinterpret
		{0xc0, 0xc4, plain, aluTicks},        // sign extension
		{opRefNull, opRefNull, special, 0},
		{0xd1, 0xd1, plain, aluTicks}, // ref.is_null
		{opRefFunc, opRefFunc, special, refFuncTicks},
		{opMisc, opVector, special, 0},
	})
	vectors = expand([]opcodeRange{
		{0x00, 0x0b, memarg, loadTicks}, // also v128.store
		{vecConst, vecConst, raw16, floatCheapTicks},
		{0x0d, 0x0d, raw16, vectorTicks}, // shuffle
		{0x0e, 0x14, plain, vectorTicks}, // swizzle, splat
		{0x15, 0x22, lane, vectorTicks},
		{0x23, 0x53, plain, vectorCheapTicks}, // compare, logic
		{0x54, 0x5b, memargLane, vectorTicks},
		{0x5c, 0x5d, memarg, loadTicks},
		{0x5e, 0xff, plain, vectorTicks},      // but:
		{0x62, 0x62, plain, vectorShiftTicks}, // popcnt
		{0x6b, 0x6d, plain, vectorShiftTicks}, // i8x16 shifts
		{0x6e, 0x73, plain, vectorCheapTicks}, // i8x16 add, sub
		{0x8e, 0x93, plain, vectorCheapTicks}, // i16x8
		{0xae, 0xb1, plain, vectorCheapTicks}, // i32x4
		{0xce, 0xd1, plain, vectorCheapTicks}, // i64x2
		{0xcb, 0xcd, plain, vectorShiftTicks}, // i64x2 shifts
		{0xcc, 0xcc, plain, vectorSlowTicks},
		{0x9c, 0x9f, plain, vectorWideTicks}, // i16x8 extmul
		{0xbc, 0xbf, plain, vectorWideTicks}, // i32x4
		{0xd5, 0xd5, plain, vectorWideTicks},
		{0xdc, 0xdf, plain, vectorSlowTicks}, // i64x2
		{0xe8, 0xe9, plain, vectorWideTicks}, // f32x4 min, max
		{0xf4, 0xf5, plain, vectorWideTicks}, // f64x2
		{0xe3, 0xe3, plain, sqrtTicks},
		{0xe7, 0xe7, plain, vectorDivTicks},
		{0xef, 0xef, plain, sqrtTicks},
		{0xf3, 0xf3, plain, vectorDivTicks},
		{0xf8, 0xff, plain, vectorTruncTicks}, // also the conversions back
		// Holes in WebAssembly 2.0.
		{0x9a, 0x9a, unknown, 0}, {0xa2, 0xa2, unknown, 0}, {0xa5, 0xa6, unknown, 0}, {0xaf, 0xb0, unknown, 0},
		{0xb2, 0xb4, unknown, 0}, {0xbb, 0xbb, unknown, 0}, {0xc2, 0xc2, unknown, 0}, {0xc5, 0xc6, unknown, 0},
		{0xcf, 0xd0, unknown, 0}, {0xd2, 0xd4, unknown, 0}, {0xe2, 0xe2, unknown, 0}, {0xee, 0xee, unknown, 0},
	})
)

type opcodeRange struct {
	first, last byte
	shape       shape
	ticks       uint16
}

// expand makes a table of ranges, of which later ones win.
func expand(ranges []opcodeRange) (table [256]opcode) {
	for _, r := range ranges {
		for i := int(r.first); i <= int(r.last); i++ {
			table[i] = opcode{r.shape, r.ticks}
		}
	}
	return table
}

// proposal names what a byte that starts no instruction of WebAssembly 2.0 belongs to.
func proposal(code byte) string {
	switch code {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return "exception handling (build without -fwasm-exceptions)"
	case 0x12, 0x13:
		return "tail calls (build with -mno-tail-call)"
	case 0x14, 0x15, 0xd3, 0xd4, 0xd5, 0xd6:
		return "typed function references"
	case 0xfb:
		return "garbage collection"
	case 0xfe:
		return "threads (build without -pthread and -matomics)"
	}
	return "no instruction of WebAssembly 2.0"
}
