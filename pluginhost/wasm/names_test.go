package wasm

import (
	"slices"
	"strings"
	"testing"
)

func TestFunctionName(t *testing.T) {
	for name, want := range map[string]string{
		"publish": "publish", "main.__plugin_.Publish": "main.(*plugin).Publish", "a.__b": "a.__b", "$12": "$12", "": "", "main.(*plugin).Publish": "main.(*plugin).Publish",
		"rust_filter.wasm.patchbay_call":                                                 "patchbay_call",
		"x.wasm._ZN8patchbay6decide6answer17hd5e14f19d37d7ab2E":                          "patchbay::decide::answer",
		"_ZN47_$LT$auth..Auth$u20$as$u20$patchbay..Plugin$GT$5start17h0123456789abcdefE": "<auth::Auth as patchbay::Plugin>::start",
		"_RNvNtCsebHcaeoSrxy_3std9panicking15panic_with_hook":                            "std::panicking::panic_with_hook",
		"_RNvCsfLfy6EI15iL_7___rustc10rust_panic":                                        "__rustc::rust_panic",
		"_RNvNtCsgXGp5Oqx2Ny_4core9panicking18panic_bounds_check":                        "core::panicking::panic_bounds_check",
		// What only looks mangled stays as it is, or is cut, and never more than that.
		"_ZN99x": "_ZN99x", "_R": "_R", "_Rs": "_Rs", "_ZN0": "_ZN0", "_ZN99999999999999999999999x": "_ZN99999999999999999999999x",
	} {
		if got := FunctionName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func FuzzFunctionName(f *testing.F) {
	f.Add("_ZN8patchbay6decide6answer17hd5e14f19d37d7ab2E")
	f.Add("_RNvNtCsebHcaeoSrxy_3std9panicking15panic_with_hook")
	f.Fuzz(func(t *testing.T, name string) {
		// "$LT$" becomes shorter and ".." becomes "::"; nothing becomes longer, but for what joins the parts.
		if got := FunctionName(name); len(got) > 3*len(name) {
			t.Errorf("%q became %q", name, got)
		}
	})
}

// TestMachinery: a stack begins with the function that is to blame, and is never empty.
func TestMachinery(t *testing.T) {
	for _, c := range []struct{ stack, want string }{
		{"__rustc::rust_panic std::panicking::panic_with_hook core::panicking::panic auth::check patchbay_call", "auth::check patchbay_call"},
		{"~lib/patchbay/abort/abort src/plugin/Auth#authenticate", "src/plugin/Auth#authenticate"},
		{"publish core::panicking::panic", "publish core::panicking::panic"},
		{"runtime.panicmem runtime.sigpanic", "runtime.panicmem runtime.sigpanic"},
		{"", ""},
	} {
		if got := withoutMachinery(strings.Fields(c.stack)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s: %v, want %s", c.stack, got, c.want)
		}
	}
}
