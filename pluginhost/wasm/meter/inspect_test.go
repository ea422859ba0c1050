package meter

import (
	"reflect"
	"testing"
)

func TestInspect(t *testing.T) {
	info, err := Inspect(everything().bytes())
	if err != nil {
		t.Fatal(err)
	}
	i32 := []ValueType{I32}
	imports := []Import{
		{"host", "next", Func, FuncType{i32, i32}}, {"env", "offset", Global, FuncType{}}, {"env", "count", Global, FuncType{}},
	}
	if !reflect.DeepEqual(info.Imports, imports) {
		t.Errorf("imports %+v", info.Imports)
	}
	exports := map[string]string{
		"memory": "memory 0 () -> ()", "own": "global 2 () -> ()", "add": "func 1 (i32, i32) -> i32",
		"pair": "func 2 (i32) -> (i32, i64)", "triple": "func 3 (i64) -> (i64, i32, i64)",
		"triples": "func 4 (i64) -> (i64, i32, i64)", "bump": "func 5 () -> i64",
	}
	for _, e := range info.Exports {
		if got := e.Kind.String() + " " + string(rune('0'+e.Index)) + " " + e.Func.String(); got != exports[e.Name] {
			t.Errorf("export %s: %s, want %s", e.Name, got, exports[e.Name])
		}
		delete(exports, e.Name)
	}
	if len(exports) > 0 {
		t.Errorf("without %v", exports)
	}
	if want := []Limits{{1, 4, true}}; !reflect.DeepEqual(info.Memories, want) {
		t.Errorf("memories %+v", info.Memories)
	}
	if want := []Limits{{4, 8, true}}; !reflect.DeepEqual(info.Tables, want) {
		t.Errorf("tables %+v", info.Tables)
	}
	if info.Functions != 6 || info.Globals != 2 || info.DataBytes != 5 || !info.HasStart || info.CodeBytes == 0 {
		t.Errorf("%+v", info)
	}
	if n := len(info.Custom); n != 16 || info.Custom[0] != (Custom{"before a", 2}) || info.Custom[n-2].Name != "name" {
		t.Errorf("custom sections %+v", info.Custom)
	}
	if want := []Producer{{"language", "C99", "14.0"}}; !reflect.DeepEqual(info.Producers, want) {
		t.Errorf("producers %+v", info.Producers)
	}
}

// A custom section never makes a module invalid, whatever is in it.
func TestInspectWithBrokenProducers(t *testing.T) {
	whole := cat(u(1), str("language"), u(1), str("C99"), str("14.0"))
	for n := range len(whole) + 1 {
		content := whole[:n]
		if n == len(whole) {
			content = append(content, 0)
		}
		info, err := Inspect(raw(sec(customSection, str("producers"), content)))
		if err != nil || len(info.Producers) > 0 {
			t.Errorf("% x: %+v, %v", content, info.Producers, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{FuncType{}.String(), "() -> ()"},
		{FuncType{[]ValueType{I32, I64, F32, F64}, []ValueType{V128}}.String(), "(i32, i64, f32, f64) -> v128"},
		{FuncType{nil, []ValueType{FuncRef, ExternRef}}.String(), "() -> (funcref, externref)"},
		{ValueType(1).String(), "type 0x1"},
		{Table.String(), "table"}, {ExternKind(7).String(), "kind 7"}, {Kind(9).String(), "kind 9"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}
