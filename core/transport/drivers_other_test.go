//go:build !linux && !darwin

package transport

func testDrivers() map[string]Driver { return map[string]Driver{"blocking": Blocking()} }
