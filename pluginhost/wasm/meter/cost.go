package meter

// Prices are in ticks: what an instruction takes in code compiled by wazero 1.12, in eighths of a nanosecond, when it
// has to wait for the one before it and finds its memory in the first cache. (Measured on 2 cores of an AMD EPYC, with
// BenchmarkPrice and BenchmarkLoop, which print how long 1 M fuel lasts.) A unit of fuel is 32 ticks, rounded up at
// each charge. So 1 M fuel is at most 5 ms of any one instruction over and over (2 ms of most), and 1–2 ms of ordinary
// code, which has several instructions under way at a time and does not take the longest path.
//
// What prices cannot know: a load that misses all caches takes 40–150 ns, a mispredicted branch 5 ns.
const (
	ticksPerFuel = 32

	aluTicks     = 2  // integer arithmetic but mul and div, extend, wrap
	compareTicks = 3  // of integers: less before a branch, more where the result is used
	mulTicks     = 7  // 0.8 ns
	divTicks     = 32 // 3.9 ns; both widths
	setTicks     = 2  // local.set, local.tee: free in a register, 0.4 ns when spilled
	globalTicks  = 3
	loadTicks    = 6 // 0.3 ns in a stream, 1.1 ns when the next address depends on it
	storeTicks   = 4
	selectTicks  = 4
	tableTicks   = 8
	refFuncTicks = 400 // leaves compiled code for Go and comes back

	floatTicks      = 7 // add, sub, mul, rounding
	floatCheapTicks = 3 // abs, neg, reinterpret
	copysignTicks   = 6
	floatTestTicks  = 4 // compare
	minMaxTicks     = 8
	floatDivTicks   = 30
	sqrtTicks       = 46
	truncTicks      = 18 // with its traps, or saturating
	convertTicks    = 10

	vectorTicks      = 8
	vectorCheapTicks = 4  // logic, integer add, sub, compare
	vectorShiftTicks = 12 // i8x16 and i64x2, popcnt
	vectorWideTicks  = 18 // extmul, minimum and maximum of floats, i64x2.mul
	vectorSlowTicks  = 32 // i64x2.shr_s and extmul
	vectorDivTicks   = 30
	vectorTruncTicks = 28

	branchTicks      = 2
	branchIfTicks    = 3
	branchTableTicks = 10
	callTicks        = 10  // and one for each parameter and result
	indirectTicks    = 24  // likewise
	hostCallTicks    = 320 // the way to an imported function and back; what it does there is the host's to bound

	// Bulk instructions; by length besides, see bulks.
	copyTicks      = 40
	fillTicks      = 200 // copies 2ⁿ bytes log n times
	tableCopyTicks = 60
	tableFillTicks = 160
	growTicks      = 280 // leaves compiled code for Go and comes back
	dropTicks      = 8
)

// What follows decides how many charges there are. With more of them, less is charged for what does not run, and each
// costs time: with these, the Go guest of BenchmarkCover is charged 1.9 times what runs.
const (
	// splitTicks is how long the longest path behind a branch or a join must be to get a charge of its own.
	splitTicks = 96
	// exitTicks is the same where a loop ends: what follows must not be paid by each of its iterations.
	exitTicks = 16
	// nearTicks is how far behind a loop's header, or a function's entry, a conditional branch is at least, to be
	// split at: the header would charge for a few instructions only, and the next charge follow at once.
	nearTicks = 32
	// farTicks is where that ends: a path of this length is split off even so near.
	farTicks = 4 * splitTicks
)

// bulkKind is a kind of instruction whose time grows with the number on top of the stack.
type bulkKind uint8

const (
	copyMemory bulkKind = iota // also memory.init
	fillMemory
	growMemory
	copyTable // also table.init
	fillTable
	growTable
)

// bulks say what they cost: ticks like any instruction, and before they run one fuel for every 2^log bytes (or entries,
// of 8 bytes): 1.2 ns within the caches, 2.5 ns beyond. Where log is 0, see rewriter.price.
var bulks = [...]struct {
	ticks int
	log   int64
}{
	copyMemory: {copyTicks, 6},
	fillMemory: {fillTicks, 6},
	growMemory: {growTicks, 0},
	copyTable:  {tableCopyTicks, 3},
	fillTable:  {tableFillTicks, 3},
	growTable:  {growTicks, 0},
}

// entryFuel is the price of one entry of table.grow: what is there moves again and again.
const entryFuel = 4
