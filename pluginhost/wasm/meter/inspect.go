package meter

// Info is what a module says about itself, before any of its code runs.
type Info struct {
	Imports []Import
	Exports []Export

	Functions int // defined by the module, without imports
	Globals   int // likewise

	Memories []Limits // imported first; WebAssembly 2.0 has at most one
	Tables   []Limits // imported first

	HasStart  bool  // a start section: code that runs while the module is instantiated
	CodeBytes int64 // size of the code section
	DataBytes int64 // sum of the data segments' contents

	Custom    []Custom
	Producers []Producer
}

// Import is something that the module needs from outside.
type Import struct {
	Module, Name string
	Kind         ExternKind
	Func         FuncType // where Kind is Func
}

// Export is something that the module offers.
type Export struct {
	Name  string
	Kind  ExternKind
	Index uint32   // in the index space of its kind, imports first
	Func  FuncType // where Kind is Func
}

// Custom is a custom section. [Rewrite] keeps them all as they are.
type Custom struct {
	Name  string
	Bytes int // of its contents
}

// Producer is one entry of the "producers" custom section: Field is "language", "processed-by" or "sdk".
type Producer struct {
	Field, Name, Version string
}

// Inspect reads everything about a module but its code, which it steps over: a module that Inspect accepts may still
// be refused by [Rewrite]. It keeps no part of the module. An error is an [*Error].
//
// A "producers" section that cannot be read is left out: what a custom section holds never makes a module invalid.
func Inspect(module []byte) (Info, error) {
	m, err := parse(module)
	if err != nil {
		return Info{}, err
	}
	return m.Info, nil
}

// producers reads the contents of a producers section (tool conventions of WebAssembly, "Producers Section").
func producers(data []byte) []Producer {
	r := &reader{data: data, end: len(data)}
	var list []Producer
	r.each(2, maxEntries, func() {
		field := r.name()
		r.each(2, maxEntries, func() {
			list = append(list, Producer{Field: field, Name: r.name(), Version: r.name()})
		})
	})
	if !r.ok() || r.pos != r.end {
		return nil
	}
	return list
}
